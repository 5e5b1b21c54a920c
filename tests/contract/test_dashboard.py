"""The dashboard as HTML: each page and fragment answers, escapes, pages in bounded steps, and explains bad input."""

from __future__ import annotations

import re

import httpx
import pytest

from cos.backend.dashboard.views import VIEWS

PAGES = tuple(view.path for view in VIEWS)
HTMX = {"HX-Request": "true"}
FORM = {"content-type": "application/x-www-form-urlencoded"}


@pytest.fixture
def record(client):
    async def send(**event) -> str:
        answer = await client.post("/events", json={"type": "chapter.saved", "module": "editor", **event})
        assert answer.status_code == 201, answer.text
        return answer.json()["id"]

    return send


def rows(text: str) -> list[str]:
    return re.findall(r'<a id="e-([0-9a-f-]+)"', text)


class TestPages:
    @pytest.mark.parametrize("path", PAGES)
    async def test_each_is_whole_and_never_kept(self, client, path) -> None:
        """A whole document, of this moment, that names its language, its place and its state."""
        answer = await client.get(path)
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        assert answer.headers["cache-control"] == "no-store"
        assert answer.text.startswith("<!doctype html>")
        assert '<html lang="en">' in answer.text
        assert answer.text.count("<h1") == 1
        assert f'href="{path}"' in answer.text
        assert answer.text.count("aria-current") == 1
        # As it was measured: a busy machine may really have no answer from Redis in time.
        assert re.search(r'id="part-state"[^>]* data-state="(ok|degraded)"', answer.text)

    @pytest.mark.parametrize("path", PAGES)
    async def test_none_needs_what_a_strict_policy_refuses(self, client, record, path) -> None:
        """No script, style or handler stands in the page itself, and nothing comes from elsewhere."""
        await record(data={"a": 1})
        text = (await client.get(path)).text
        assert re.findall(r"<script(?![^>]* src=\"/ui/static/)[^>]*>", text) == []
        assert re.findall(r"<style|\sstyle=|\son[a-z]+=|\shx-on|javascript:", text) == []
        assert re.findall(r"(?:src|href)=\"(?!/|#)[^\"]*\"", text) == []

    async def test_every_file_that_a_page_names_is_there(self, client) -> None:
        """Scripts, styles and fonts are served with their kind, to be kept for ever."""
        text = (await client.get("/")).text
        style = (await client.get("/ui/static/page.css")).text
        named = set(re.findall(r'"(/ui/static/[^"]+)"', text))
        named |= {f"/ui/static/{path}" for path in re.findall(r'url\("([^"]+)"\)', style)}
        kinds = {}
        for path in named:
            answer = await client.get(path)
            assert answer.status_code == 200, path
            assert "immutable" in answer.headers["cache-control"]
            kinds[path.partition("?")[0].rpartition(".")[2]] = answer.headers["content-type"].partition(";")[
                0
            ]
        assert kinds == {
            "css": "text/css",
            "js": "text/javascript",
            "svg": "image/svg+xml",
            "woff2": "font/woff2",
        }

    @pytest.mark.parametrize(
        "path", ["", "../pages.py", "%2e%2e/pages.py", "..%2f..%2fapp.py", "no", "fonts", "a%00b"]
    )
    async def test_no_other_file_is_given_away(self, client, path) -> None:
        answer = await client.get(f"/ui/static/{path}")
        assert answer.status_code == 404
        assert "import" not in answer.text

    async def test_the_theme_comes_from_the_cookie(self, client) -> None:
        """Only the two that there are; anything else is the system's choice."""
        dark = await client.get("/", headers={"cookie": "cos_theme=dark"})
        other = await client.get("/", headers={"cookie": 'cos_theme="><script>'})
        assert 'data-theme="dark"' in dark.text
        assert "data-theme" not in other.text

    async def test_they_stay_out_of_the_api_document(self, client) -> None:
        paths = (await client.get("/openapi.json")).json()["paths"]
        assert [path for path in paths if path == "/" or path.startswith("/ui")] == []


class TestEvents:
    async def test_pages_go_back_without_a_gap(self, client, record) -> None:
        """Following `Older` shows every event once, newest first, and ends."""
        made = [await record(data=n) for n in range(120)]
        seen, path, pages = [], "/ui/events", 0
        while path and pages < 9:
            text = (await client.get(path)).text
            seen += rows(text)
            pages += 1
            found = re.search(r'<a href="([^"]+)" rel="next">', text)
            path = found[1].replace("&amp;", "&") if found else ""
        assert seen == made[::-1]
        assert pages == 3

    @pytest.mark.parametrize(
        ("query", "subjects"),
        [
            ("subject=ch01", ["ch01"]),
            ("subject=ch*", ["ch02", "ch01"]),
            ("type=note.*", ["aside"]),
            ("type=note.taken&subject=ch01", []),
            ("module=notes", ["aside"]),
            ("holds=100%25", ["ch02"]),
            ("holds=_words", []),
            ("holds=WORDS", ["ch02", "ch01"]),
            ("module=nobody", []),
        ],
    )
    async def test_filters_show_what_matches(self, client, record, query, subjects) -> None:
        """Exact, by a beginning, or by what the data holds; `%` and `_` are themselves."""
        await record(subject="ch01", data={"words": 2031})
        await record(subject="ch02", data={"words": "100%"})
        await record(type="note.taken", module="notes", subject="aside")
        text = (await client.get(f"/ui/events?{query}")).text
        assert re.findall(r'<span class="subject">([^<]+)</span>', text) == subjects

    async def test_a_search_stops_and_can_be_taken_further(self, client, record, pg, monkeypatch) -> None:
        """A page looks through so many records and no more; the next goes on where it stopped, and misses none."""
        monkeypatch.setattr("cos.backend.dashboard.log.WINDOW", 10)
        rare = [await record(type="rare.kind", data=n) for n in range(2)]
        for n in range(25):
            await record(data=n)
        seen, path, pages = [], "/ui/events?type=rare.kind", 0
        while path and pages < 9:
            text = (await client.get(path)).text
            seen += rows(text)
            pages += 1
            found = re.search(r'<a href="([^"]+)" rel="next">', text)
            path = found[1].replace("&amp;", "&") if found else ""
        assert seen == rare[::-1]
        assert pages == 3

    async def test_htmx_gets_the_list_alone(self, client, record) -> None:
        await record()
        text = (await client.get("/ui/events?module=editor", headers=HTMX)).text
        assert text.lstrip().startswith('<section id="part-stream"')
        assert len(rows(text)) == 1
        assert "<html" not in text

    async def test_what_was_recorded_is_text(self, client, record) -> None:
        """Whatever stands in an event, the page shows it and obeys none of it."""
        evil = "<script>alert(1)</script>\"'&"
        made = await record(subject=evil, data={evil: evil, "note": "a b " + evil})
        for path in ("/", "/ui/events", f"/ui/events/{made}"):
            text = (await client.get(path)).text
            assert "<script>alert" not in text
            assert "&lt;script&gt;alert" in text

    async def test_one_is_shown_to_the_byte(self, client, record) -> None:
        """Numbers stay as they were written: no digit is lost, no zero taken away."""
        data = '{"big": 12345678901234567890123, "exact": 1.10, "e": 1E30, "nothing": null}'
        body = f'{{"type": "number.kept", "data": {data}}}'
        made = (
            await client.post("/events", content=body, headers={"content-type": "application/json"})
        ).json()["id"]
        for headers in ({}, HTMX):
            text = re.sub(r"<[^>]+>", "", (await client.get(f"/ui/events/{made}", headers=headers)).text)
            for number in ("12345678901234567890123", "1.10", "1E30", "null"):
                assert number in text

    async def test_a_large_one_is_cut_and_named_so(self, client, record) -> None:
        """The list shows no excerpt of it, its page the beginning."""
        made = await record(data={"text": [f"{n:x}" * 40 for n in range(6000)]})
        listed = (await client.get("/ui/events")).text
        whole = (await client.get(f"/ui/events/{made}")).text
        assert "large, open it to read" in listed
        assert "j-cut" in whole
        assert len(whole) < 1_000_000


class TestLive:
    async def test_an_unknown_view_is_not_live(self, client) -> None:
        assert (await client.get("/ui/live/nothing")).status_code == 404

    async def test_the_first_look_is_whole_and_ends_with_its_viewer(
        self, served, eventually, monkeypatch
    ) -> None:
        """Every live part comes once; then one viewer more than are taken is told so, until this one has gone."""
        monkeypatch.setattr("cos.backend.dashboard.live.MOST_VIEWERS", 1)
        seen: set[str] = set()
        async with served.stream("GET", "/ui/live/overview") as answer:
            assert answer.headers["content-type"].startswith("text/event-stream")
            lines = answer.aiter_lines()  # held: where nobody holds it, a `break` hangs up
            async for line in lines:
                if line.startswith("data: part-"):
                    seen.add(line.removeprefix("data: part-"))
                if {"state", "dead", "lede", "flow", "health", "latest"} <= seen:
                    break
            refused = await served.get("/ui/live/overview")
        assert refused.status_code == 503
        assert "1 pages are open already" in refused.text

        async def free() -> bool:
            async with served.stream("GET", "/ui/live/system") as again:
                return again.status_code == 200

        await eventually(free)


class TestModules:
    async def test_a_plain_form_leads_back_to_the_page(self, client) -> None:
        """Without a script: register, turn off, on, remove; each leads to the page, which shows it."""
        made = await client.post("/ui/modules", content="name=editor&version=1.0&config=", headers=FORM)
        assert (made.status_code, made.headers["location"]) == (303, "/ui/modules")
        listed = (await client.get("/cc/modules")).json()
        assert [(one["name"], one["version"], one["config"]) for one in listed] == [("editor", "1.0", None)]
        for act, left in (("off", [False]), ("on", [True]), ("remove", [])):
            answer = await client.post(f"/ui/modules/{listed[0]['id']}/{act}")
            assert answer.status_code == 303
            assert [one["active"] for one in (await client.get("/cc/modules")).json()] == left

    @pytest.mark.parametrize(
        ("path", "body", "status", "said"),
        [
            ("/ui/modules", "name=&version=1", 422, "name"),
            ("/ui/modules", "version=1", 422, "name"),
            ("/ui/modules", f"name={'x' * 256}&version=1", 422, "name"),
            ("/ui/modules", "name=a%00b&version=1", 422, "NUL"),
            ("/ui/modules", "name=a&version=" + "1" * 51, 422, "version"),
            ("/ui/modules/nobody/off", "", 404, "nobody"),
            ("/ui/modules/nobody/remove", "", 404, "nobody"),
            ("/ui/modules/nobody/burn", "", 404, "burn"),
        ],
    )
    async def test_bad_input_is_one_sentence(self, client, path, body, status, said) -> None:
        """As a page and as a fragment; nothing is written."""
        for headers in (FORM, FORM | HTMX):
            answer = await client.post(path, content=body, headers=headers)
            assert answer.status_code == status, answer.text
            assert said in answer.text
            assert "Traceback" not in answer.text
        assert (await client.get("/cc/modules")).json() == []

    async def test_a_body_past_the_limit_is_refused(self, narrow) -> None:
        answer = await narrow.post("/ui/modules", content="name=" + "x" * 4096, headers=FORM)
        assert answer.status_code == 413


class TestProblems:
    @pytest.mark.parametrize(
        ("path", "status", "said"),
        [
            ("/ui/nothing", 404, "no page"),
            ("/ui/%3Cscript%3E", 404, "no page"),
            ("/ui/events/not-an-id", 422, "event_id"),
            ("/ui/events/00000000-0000-7000-8000-000000000000", 404, "no event"),
            ("/ui/events?before=yesterday", 422, "not a position"),
            ("/ui/events?before=9999999999999999999999-1", 422, "not a position"),
            ("/ui/events?type=a%00b", 422, "NUL"),
            ("/ui/events?holds=%00", 422, "NUL"),
            ("/ui/modules?skip=-1", 422, "skip"),
            ("/ui/modules?skip=9999999999999", 422, "skip"),
        ],
    )
    async def test_each_is_told_in_the_words_of_the_api(self, client, path, status, said) -> None:
        """A page to a person, a line to htmx, with the right status; nothing of it is taken for HTML."""
        page = await client.get(path)
        fragment = await client.get(path, headers=HTMX)
        assert (page.status_code, fragment.status_code) == (status, status)
        assert page.text.startswith("<!doctype html>")
        assert said in page.text
        assert said in fragment.text
        assert "<html" not in fragment.text
        assert "<script>" not in page.text
        assert "Traceback" not in page.text

    async def test_without_postgres_the_page_says_so(self, servers, client, record, eventually) -> None:
        """The overview still stands, the list is a page with the cause, and both are as before afterwards."""
        await record()

        async def says_so() -> httpx.Response | None:
            answer = await client.get("/")
            return answer if "COS cannot record at the moment." in answer.text else None

        await servers.postgres.stop()
        try:
            overview = await eventually(says_so)
            events = await client.get("/ui/events")
        finally:
            await servers.postgres.start()
        assert overview.status_code == 200
        assert 'data-state="down"' in overview.text
        assert events.status_code == 503
        assert "Postgres" in events.text
        assert events.headers["retry-after"]

        async def is_well() -> bool:
            return "Everything works." in (await client.get("/")).text

        await eventually(is_well)
