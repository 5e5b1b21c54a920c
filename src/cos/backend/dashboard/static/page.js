/* What the page does by itself: stays live, pauses, opens an event beside the list, obeys keys. All of it can be read without. */
(() => {
  "use strict";
  const root = document.documentElement;
  const $ = (selector, from = document) => from.querySelector(selector);
  const store = { get: (name) => { try { return localStorage.getItem(name); } catch { return null; } },
                  set: (name, value) => { try { localStorage.setItem(name, value); } catch { /* kept for this page only */ } } };
  root.classList.add("js-on");

  const say = (text) => { const said = $("#said"); if (said) said.textContent = text; };

  /* Light and dark: the cookie lets the server render the right one at once. */
  const isDark = () => root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  const turnTheme = () => {
    const theme = isDark() ? "light" : "dark";
    root.dataset.theme = theme;
    document.cookie = `cos_theme=${theme}; path=/; max-age=31536000; samesite=strict`;
    say(`${theme} colours`);
  };

  /* Live: one stream a page brings each part that changed. */
  let source = null, boot = null, paused = false, retry = 0, last = Date.now(), timer = 0;
  const held = new Map();

  const link = (state, text) => {
    const mark = $("#link");
    if (!mark || (mark.dataset.link === state && mark.textContent === text)) return;
    const before = mark.dataset.link;
    mark.dataset.link = state;
    $(".link-text", mark).textContent = text;
    root.classList.toggle("lost", state === "lost");
    if (state === "lost" || (before === "lost" && state === "live")) say(text);
  };
  const alive = () => { last = Date.now(); retry = 0; link(paused ? "paused" : "live", paused ? "paused" : "live"); };

  const newest = () => $("#part-stream")?.dataset.newest ?? "";

  const put = (name, html) => {
    const old = document.getElementById(name);
    if (!old) return;
    const seen = new Set(Array.from(old.querySelectorAll("tr.row a[id]"), (one) => one.id));
    const at = $("tr.at a[id]", old)?.id;
    const words = old.dataset.state;
    htmx.swap(document.body, html, { swapStyle: "none", swapDelay: 0, settleDelay: 0 });
    const now = document.getElementById(name);
    if (!now) return;
    if (at) document.getElementById(at)?.closest("tr")?.classList.add("at");
    if (seen.size) {
      let fresh = 0;
      now.querySelectorAll("tr.row a[id]").forEach((one) => { if (!seen.has(one.id)) { fresh += 1; one.closest("tr").classList.add("new"); } });
      if (fresh && name === "part-stream") say(fresh === 1 ? "One new event" : `${fresh} new events`);
    }
    if (name === "part-state" && words !== now.dataset.state) {
      say(`COS is ${now.innerText.replace(/\s+/g, " ").trim()}`);
      if (now.dataset.state === "ok" && $("[data-problem='503']")) location.reload();
    }
    titleState();
  };
  const titleState = () => {
    const state = $("#part-state")?.dataset.state;
    document.title = document.title.replace(/^[◐○] /, "");
    if (state === "degraded") document.title = `◐ ${document.title}`;
    if (state === "down") document.title = `○ ${document.title}`;
  };

  const connect = () => {
    const address = document.body.dataset.live;
    if (!address || !window.EventSource) { $("#link")?.remove(); return; }
    source?.close();
    clearTimeout(timer);
    const mine = source = new EventSource(address + location.search);
    mine.addEventListener("hello", (event) => {
      // A secret that is shown is shown this once: its page is not loaded anew by itself.
      if (boot && boot !== event.data && !$("#secret")) { location.reload(); return; }
      boot ??= event.data;
      alive();
    });
    mine.addEventListener("beat", alive);
    mine.addEventListener("bye", () => lost("COS is stopping"));
    mine.addEventListener("part", (event) => {
      alive();
      const cut = event.data.indexOf("\n");
      const name = event.data.slice(0, cut), html = event.data.slice(cut + 1);
      if (name === "part-stream" && /[?&]before=[^&]/.test(location.search)) return;
      if (paused && name !== "part-state" && name !== "part-dead") { hold(name, html); return; }
      put(name, html);
    });
    mine.onerror = () => {
      lost("COS does not answer");
      if (mine.readyState !== EventSource.CLOSED) return;
      mine.close();
      retry = Math.min(retry + 1, 5);
      timer = setTimeout(connect, 1000 * retry);
    };
  };
  const lost = (what) => link("lost", `${what}; trying again. What you see is from ${new Date(last).toLocaleTimeString()}.`);

  /* Pause: what comes is held back, never lost: a part is whole each time. */
  const hold = (name, html) => {
    const known = held.get(name);
    held.set(name, html);
    if (name !== "part-stream" || known === html) return;
    const found = html.match(/data-newest="([^"]*)"/)?.[1];
    if (found && found !== newest()) $("#fresh").hidden = false;
  };
  const pause = (on = !paused) => {
    const button = $("#pause");
    if (!button) return;
    paused = on;
    button.setAttribute("aria-pressed", String(paused));
    button.textContent = paused ? "Go on" : "Pause";
    $("#fresh").hidden = true;
    if (!paused) { held.forEach((html, name) => put(name, html)); held.clear(); }
    alive();
    say(paused ? "paused" : "live");
  };

  /* An event opens beside the list. */
  const open = (anchor) => {
    const aside = $("#opened");
    if (!aside) { location.href = anchor.href; return; }
    mark(anchor.closest("tr"));
    htmx.ajax("GET", anchor.getAttribute("href"), { target: "#opened", swap: "innerHTML" }).then(() => $("#event-title")?.focus({ preventScroll: true }));
  };
  const close = () => {
    const aside = $("#opened");
    if (!aside?.firstChild) return false;
    aside.replaceChildren();
    $("tr.at a[id]")?.focus({ preventScroll: true });
    return true;
  };
  const mark = (row) => {
    document.querySelectorAll("tr.at").forEach((one) => one.classList.remove("at"));
    row?.classList.add("at");
  };
  const step = (by) => {
    const rows = Array.from(document.querySelectorAll("tr.row"));
    if (!rows.length) return;
    const from = rows.findIndex((one) => one.classList.contains("at"));
    const row = rows[Math.max(0, Math.min(rows.length - 1, from < 0 ? 0 : from + by))];
    mark(row);
    $("a", row).focus({ preventScroll: true });
    row.scrollIntoView({ block: "nearest" });
    if ($("#opened")?.firstChild) open($("a", row));
  };

  const acts = {
    theme: turnTheme,
    keys: () => { const keys = $("#keys"); if (keys.open) keys.close(); else keys.showModal(); },
    pause: () => pause(),
    resume: () => pause(false),
    copy: () => {
      const code = $("#secret");
      const copied = navigator.clipboard?.writeText(code.textContent) ?? Promise.reject();
      copied.then(() => say("copied"), () => { getSelection().selectAllChildren(code); say("marked, to be copied"); });
    },
    close,
  };

  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-do]");
    if (button) { acts[button.dataset.do]?.(); return; }
    if (event.target.closest(".skip")) { event.preventDefault(); $("main").focus(); return; }
    const anchor = event.target.closest("a[data-open]");
    if (!anchor || event.button || event.metaKey || event.ctrlKey || event.shiftKey || !$("#opened")) return;
    event.preventDefault();
    open(anchor);
  });

  let first = "", firstAt = 0;
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    if (event.key === "Escape") { if (!$("dialog[open]")) close(); return; }
    if (event.target.closest?.("input, select, textarea, [contenteditable]") || $("dialog[open]")) return;
    if (store.get("cos_keys") === "off" && event.key !== "?") return;
    if (first === "g" && Date.now() - firstAt < 1500) {
      first = "";
      const found = Array.from(document.querySelectorAll(".side nav a[data-key]")).find((one) => one.dataset.key === event.key);
      if (found) { event.preventDefault(); location.href = found.href; }
      return;
    }
    first = event.key; firstAt = Date.now();
    const keys = { "?": acts.keys, t: turnTheme, p: () => pause(), j: () => step(1), k: () => step(-1), "/": () => $(".filter input, .filter select")?.focus() };
    const act = keys[event.key];
    if (act) { event.preventDefault(); act(); }
  });

  const begin = () => {
    const on = $("#keys-on");
    if (on) {
      on.checked = store.get("cos_keys") !== "off";
      on.addEventListener("change", () => store.set("cos_keys", on.checked ? "on" : "off"));
    }
    $(".side nav a[aria-current]")?.scrollIntoView({ inline: "center", block: "nearest" });
    titleState();
    // The stream brings every part once; the page is painted before that.
    let begun = false;
    const once = () => { if (!begun) { begun = true; connect(); } };
    requestAnimationFrame(() => requestAnimationFrame(once));
    setTimeout(once, 500);
    // What was made stands in the list now, not in the form any more.
    document.body.addEventListener("htmx:afterRequest", (event) => { if (event.detail.successful) event.target.closest?.(".form-section form")?.reset(); });
    document.body.addEventListener("htmx:pushedIntoHistory", () => { close(); connect(); });
    window.addEventListener("popstate", () => location.reload());
    window.addEventListener("pagehide", () => { source?.close(); if ($("#secret")) $("#notice").replaceChildren(); });
    window.addEventListener("pageshow", (event) => { if (event.persisted) connect(); });
  };
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", begin); else begin();
})();
