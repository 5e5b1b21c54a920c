"""Tokens and the page's sessions: made, used, stolen, ended; and what the log tells of it."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import cos.backend.dashboard
from cos.backend.auth import secret
from cos.backend.auth.answer import Answer
from cos.common import clock
from cos.errors import Unavailable

TEMPLATES = Path(cos.backend.dashboard.__path__[0]) / "templates"
PAGE = {"Origin": "http://cos.example.org"}
FORM = {"Content-Type": "application/x-www-form-urlencoded", **PAGE}


def csrf_of(cookie: str) -> str:
    return secret.csrf_of(cookie)


class TestTokens:
    """The routes of tokens, and what makes one useless."""

    async def test_made_listed_and_revoked(self, guarded, problem) -> None:
        """Its secret is shown once; after the revocation it is refused at once."""
        admin = guarded.bearer(await guarded.token())
        made = (
            await guarded.http.post("/cc/tokens", json={"name": "e", "scope": "write"}, headers=admin)
        ).json()
        assert re.fullmatch(r"cos_[0-9a-f]{16}_[\w-]{43}", made["token"])
        shown = await guarded.http.get("/cc/tokens", headers=admin)
        assert made["token"] not in shown.text
        assert "hash" not in shown.text
        theirs = guarded.bearer(made["token"])
        assert (await guarded.http.get("/cc/status", headers=theirs)).status_code == 200
        gone = (await guarded.http.delete("/cc/tokens/e", headers=admin)).json()
        assert gone["state"] == "revoked"
        problem(await guarded.http.get("/cc/status", headers=theirs), 401, "was revoked")
        assert (await guarded.http.delete(f"/cc/tokens/{made['id']}", headers=admin)).json() == gone

    async def test_a_name_is_taken_while_its_token_lives(self, guarded, problem) -> None:
        admin = guarded.bearer(await guarded.token())
        for status in (201, 409):
            answer = await guarded.http.post("/cc/tokens", json={"name": "e"}, headers=admin)
            assert answer.status_code == status
        problem(answer, 409, "choose another name")
        await guarded.http.delete("/cc/tokens/e", headers=admin)
        assert (await guarded.http.post("/cc/tokens", json={"name": "e"}, headers=admin)).status_code == 201

    @pytest.mark.parametrize(
        "body",
        [
            {},
            {"name": ""},
            {"name": "a\nb"},
            {"name": "x" * 101},
            {"name": "e", "scope": "root"},
            {"name": "e", "expires_in_days": 0},
            {"name": "e", "expires_in_days": 4000},
            {"name": "e", "id": "1"},
        ],
    )
    async def test_what_is_no_token(self, guarded, problem, body) -> None:
        admin = guarded.bearer(await guarded.token())
        problem(await guarded.http.post("/cc/tokens", json=body, headers=admin), 422)

    async def test_unknown_ones(self, guarded, problem) -> None:
        """A wrong secret under a right id, a made-up id, other kinds: all the same sentence."""
        token = await guarded.token("read")
        wrong = [
            token[:-1] + ("A" if token[-1] != "A" else "B"),
            secret.new_token().text,
            token[:-1],
            f"{token}x",
            "x",
        ]
        said = set()
        for text in wrong:
            said.add(
                problem(await guarded.http.get("/cc/status", headers=guarded.bearer(text)), 401)["detail"]
            )
        assert len(said) == 1
        for given in ("", "Bearer", "Bearer ", f"Basic {token}", token, f"bearer{token}"):
            problem(await guarded.http.get("/cc/status", headers={"Authorization": given}), 401)
        twice = [("Authorization", f"Bearer {token}"), ("Authorization", f"Bearer {wrong[0]}")]
        problem(await guarded.http.get("/cc/status", headers=twice), 400, "twice")

    async def test_an_expired_one(self, guarded, problem, pg) -> None:
        """It ends while it is remembered, too."""
        token = await guarded.token("read", "e", expires_in_days=1)
        assert (await guarded.http.get("/cc/status", headers=guarded.bearer(token))).status_code == 200
        await pg.execute("UPDATE cc.token SET expires_at = $1", clock.now() - timedelta(seconds=1))
        guarded.core.grants.forget()
        problem(await guarded.http.get("/cc/status", headers=guarded.bearer(token)), 401, "has expired")

    @pytest.mark.parametrize(
        "place", ["/cc/status?token={}", "/cc/status?a=b&access_token={}", "/{}", "/events/{}"]
    )
    async def test_one_in_an_address(self, guarded, problem, place) -> None:
        """Refused even where it is valid, for logs keep addresses; the answer does not repeat it."""
        token = await guarded.token("read")
        answer = await guarded.http.get(place.format(token), headers=guarded.bearer(token))
        assert problem(answer, 400, "revoke it")
        assert token not in answer.json()["detail"]

    async def test_when_it_was_last_used(self, guarded, eventually, pg) -> None:
        token = await guarded.token("read", "e")
        await guarded.http.get("/cc/status", headers=guarded.bearer(token))
        await guarded.core.grants.flush()
        used = await pg.fetchval("SELECT last_used_at FROM cc.token WHERE name = 'e'")
        assert used is not None

    async def test_nothing_kept_is_a_secret(self, guarded, pg, capsys) -> None:
        """Neither a table nor an event nor a line of the log holds a token, a cookie, or what proves a page."""
        token = await guarded.token("admin")
        cookie = (await guarded.sign_in(token)).cookies["cos_session"]
        await guarded.http.get("/cc/status", headers=guarded.bearer(f"{token}x"))
        await guarded.http.get("/cc/status", headers=guarded.bearer(secret.new_token().text))
        await guarded.http.post("/cc/tokens", json={"name": "e"}, headers=guarded.bearer(token))
        rows = [
            str(dict(row))
            for table in ("cc.token", "cc.session", "l1.record")
            for row in await pg.fetch(f"SELECT * FROM {table}")  # noqa: S608  # house: sql (the names are ours)
        ]
        kept = "\n".join(rows) + "".join(capsys.readouterr())
        parts = [token.split("_", 2)[2][:20], cookie.partition(".")[2][:20], csrf_of(cookie)]
        assert [part for part in parts if part in kept] == []


class TestAudit:
    """Each administrative act is an event that names who did it."""

    async def test_an_act_of_a_token(self, guarded, pg) -> None:
        token = await guarded.token("admin", "the boss")
        answer = await guarded.http.post(
            "/cc/tokens", json={"name": "e"}, headers=guarded.bearer(token) | {"X-Request-ID": "act-1"}
        )
        assert answer.status_code == 201
        [told] = await guarded.events("admin.acted")
        assert told["data"]["by"] == {"token": secret.token_id(token), "name": "the boss", "session": None}
        assert told["data"] | {"by": 0} == {
            "by": 0,
            "method": "POST",
            "path": "/cc/tokens",
            "status": 201,
            "address": "203.0.113.7",
        }
        [made] = [one for one in await guarded.events("token.created") if one["data"]["name"] == "e"]
        assert made["data"]["by"] == "the boss"
        assert made["requestid"] == told["requestid"] == "act-1"

    async def test_it_is_durable_before_the_answer(self, guarded, pg, monkeypatch) -> None:
        """Whoever hears that it was done finds it in the log, even if the process dies in that moment."""
        token = await guarded.token()
        found: list[int] = []
        make = Answer.__init__

        def watched(self: Answer, send: Any, **more: Any) -> None:
            async def look_and_send(message: Any) -> None:
                if message["type"] == "http.response.start":
                    statement = "SELECT count(*) FROM l1.record WHERE type = 'admin.acted'"
                    found.append(await pg.fetchval(statement))
                await send(message)

            make(self, look_and_send, **more)

        monkeypatch.setattr(Answer, "__init__", watched)
        await guarded.http.post("/cc/tokens", json={"name": "e"}, headers=guarded.bearer(token))
        assert found == [1]

    async def test_without_the_recorder_the_act_tells_of_itself(self, guarded, monkeypatch) -> None:
        """It is in the act's own transaction, whoever else could record it."""
        token = await guarded.token()

        async def fail(_event: Any) -> None:
            raise Unavailable("no room")

        monkeypatch.setattr(guarded.core.recorder, "record", fail)
        made = await guarded.http.post("/cc/tokens", json={"name": "e"}, headers=guarded.bearer(token))
        assert made.status_code == 201
        assert len(await guarded.events("admin.acted")) == 1

    async def test_what_writes_nothing_and_cannot_be_recorded_is_answered_so(
        self, guarded, problem, monkeypatch, capsys
    ) -> None:
        token = await guarded.token()

        async def fail(_event: Any) -> None:
            raise Unavailable("no room")

        monkeypatch.setattr(guarded.core.recorder, "record", fail)
        path = "/cc/mem0/scratch/cleanup/background"
        problem(await guarded.http.post(path, headers=guarded.bearer(token)), 503, "This was done, but")
        assert "audit_failed" in capsys.readouterr().out

    async def test_what_failed_or_only_read_is_none(self, guarded) -> None:
        admin = guarded.bearer(await guarded.token())
        await guarded.http.delete("/cc/tokens/nobody", headers=admin)
        await guarded.http.get("/cc/tokens", headers=admin)
        await guarded.http.post("/events", json={"type": "a.b"}, headers=admin)
        assert await guarded.events("admin.acted") == []

    async def test_modules_and_clean_up_count_although_writers_may(self, guarded) -> None:
        writer = guarded.bearer(await guarded.token("write"))
        made = await guarded.http.post("/cc/modules", json={"name": "m", "version": "1"}, headers=writer)
        await guarded.http.post(f"/cc/modules/{made.json()['id']}/heartbeat", json={}, headers=writer)
        await guarded.http.post("/cc/mem0/scratch/cleanup", headers=writer)
        told = [one["data"]["path"] for one in await guarded.events("admin.acted")]
        assert sorted(told) == ["/cc/mem0/scratch/cleanup", "/cc/modules"]

    async def test_on_this_machine(self, client) -> None:
        """Where nobody need say who they are, what records nothing of itself is told of as well."""
        await client.post("/cc/mem0/scratch/cleanup")
        [told] = (await client.get("/events", params={"type": "admin.acted"})).json()["events"]
        assert told["data"]["by"] == {"token": None, "name": "this machine", "session": None}


class TestForms:
    """What the page's own forms carry."""

    @pytest.mark.parametrize("path", sorted(TEMPLATES.rglob("*.html")), ids=lambda path: path.name)
    def test_each_carries_the_proof(self, path) -> None:
        """But for the sign-in's, which acts for nobody yet."""
        forms = re.findall(r"<form[^>]*method=.post.*?</form>", path.read_text(), re.DOTALL)
        assert [one for one in forms if "csrf_token" not in one and "/sign-in" not in one] == []


class TestSessions:
    """The page's sign-in: a cookie, and a proof on all that changes anything."""

    async def test_the_cookie_is_out_of_reach(self, guarded) -> None:
        """Of scripts, of other sites, of other paths; and new each time."""
        token = await guarded.token("admin")
        cookies = [(await guarded.sign_in(token)).headers["set-cookie"] for _ in range(2)]
        assert cookies[0].split(";")[0] != cookies[1].split(";")[0]
        for one in cookies:
            assert {"httponly", "samesite=strict", "path=/"} <= {
                part.strip().lower() for part in one.split(";")
            }
            assert "domain" not in one.lower()
            assert token not in one

    async def test_over_tls_it_is_bound_to_the_host(self, guarded) -> None:
        token = await guarded.token("admin")
        answer = await guarded.http.post(
            "https://cos.example.org/sign-in",
            data={"token": token},
            headers={"Origin": "https://cos.example.org"},
        )
        cookie = answer.headers["set-cookie"]
        assert cookie.startswith("__Host-cos_session=")
        assert "secure" in cookie.lower()
        assert answer.headers["strict-transport-security"]

    async def test_a_browser_is_led_to_sign_in_and_back(self, guarded) -> None:
        page = await guarded.http.get("/ui/events?type=a", headers={"Accept": "text/html"})
        assert (page.status_code, page.headers["location"]) == (
            303,
            "/sign-in?next=%2Fui%2Fevents%3Ftype%3Da",
        )
        token = await guarded.token("read")
        answer = await guarded.http.post(
            "/sign-in", data={"token": token, "next": "/ui/events?type=a"}, headers=PAGE
        )
        assert (answer.status_code, answer.headers["location"]) == (303, "/ui/events?type=a")

    @pytest.mark.parametrize(
        "away",
        [
            "//evil.example",
            "https://evil.example",
            "/\\evil.example",
            "\\\\evil",
            "/\tevil",
            "javascript:x",
            "/sign-in",
        ],
    )
    async def test_it_leads_nowhere_else(self, guarded, away) -> None:
        token = await guarded.token("read")
        answer = await guarded.http.post("/sign-in", data={"token": token, "next": away}, headers=PAGE)
        assert answer.headers["location"] == "/"

    async def test_a_form_without_its_proof(self, guarded, problem) -> None:
        """Missing, wrong, of another session, twice: 403 each; the right one acts."""
        token = await guarded.token("admin")
        mine = (await guarded.sign_in(token)).cookies["cos_session"]
        guarded.http.cookies.clear()
        other = (await guarded.sign_in(token)).cookies["cos_session"]
        guarded.http.cookies.clear()
        cookie = {"Cookie": f"cos_session={mine}"}
        right = csrf_of(mine)
        for proof in (
            "",
            "csrf_token=",
            "csrf_token=x",
            f"csrf_token={csrf_of(other)}",
            f"csrf_token={right}&csrf_token=x",
        ):
            problem(
                await guarded.http.post("/sign-out", content=proof, headers=FORM | cookie), 403, "out of date"
            )
        for given in ("", "x", csrf_of(other)):
            answer = await guarded.http.post(
                "/events", json={"type": "a.b"}, headers=PAGE | cookie | {"X-CSRF-Token": given}
            )
            problem(answer, 403, "out of date")
        # In an address or a JSON body it proves nothing.
        problem(await guarded.http.post(f"/sign-out?csrf_token={right}", headers=FORM | cookie), 403)
        problem(await guarded.http.post("/events", json={"csrf_token": right}, headers=PAGE | cookie), 403)
        good = await guarded.http.post(
            "/events", json={"type": "a.b"}, headers=PAGE | cookie | {"X-CSRF-Token": right}
        )
        assert good.status_code == 201
        out = await guarded.http.post("/sign-out", content=f"csrf_token={right}", headers=FORM | cookie)
        assert (out.status_code, out.headers["location"]) == (303, "/sign-in")
        problem(await guarded.http.get("/cc/status", headers=cookie), 401)

    @pytest.mark.parametrize(
        "origin", ["null", "http://evil.example", "https://cos.example.org", "http://x.cos.example.org"]
    )
    async def test_the_proof_from_another_page(self, guarded, problem, origin) -> None:
        """A proof that was stolen is of no use to another site."""
        cookie = (await guarded.sign_in(await guarded.token())).cookies["cos_session"]
        headers = {"X-CSRF-Token": csrf_of(cookie), "Origin": origin}
        problem(await guarded.http.post("/events", json={"type": "a.b"}, headers=headers), 403, "Pages of")

    async def test_cookies_that_somebody_else_set(self, guarded, problem) -> None:
        """Two of a name (a subdomain's beside ours), one that was chosen before, one of another kind: nobody."""
        token = await guarded.token("admin")
        good = (await guarded.sign_in(token)).cookies["cos_session"]
        guarded.http.cookies.clear()
        chosen = secret.new_session().text
        for cookie in (
            f"cos_session={chosen}; cos_session={good}",
            f"cos_session={good}; cos_session={chosen}",
            f"cos_session={chosen}",
            f"cos_session={token}",
            f"__Host-cos_session={good}",
            "cos_session=",
        ):
            problem(await guarded.http.get("/cc/status", headers={"Cookie": cookie}), 401)
        # Fixation: who signs in with a chosen cookie gets a new one, and the old one opens nothing.
        answer = await guarded.http.post(
            "/sign-in", data={"token": token}, headers=PAGE | {"Cookie": f"cos_session={chosen}"}
        )
        assert chosen not in answer.headers["set-cookie"]
        guarded.http.cookies.clear()
        problem(await guarded.http.get("/cc/status", headers={"Cookie": f"cos_session={chosen}"}), 401)

    async def test_it_ends_with_its_token(self, guarded, problem) -> None:
        token = await guarded.token("read", "e")
        admin = guarded.bearer(await guarded.token())
        cookie = {"Cookie": f"cos_session={(await guarded.sign_in(token)).cookies['cos_session']}"}
        guarded.http.cookies.clear()
        assert (await guarded.http.get("/cc/status", headers=cookie)).status_code == 200
        await guarded.http.delete("/cc/tokens/e", headers=admin)
        problem(await guarded.http.get("/cc/status", headers=cookie), 401)

    async def test_a_wrong_token_opens_nothing(self, guarded) -> None:
        answer = await guarded.sign_in(secret.new_token().text)
        assert answer.status_code == 401
        assert "set-cookie" not in answer.headers
        assert "not known" in answer.text

    async def test_another_site_cannot_sign_somebody_in(self, guarded, problem) -> None:
        token = await guarded.token()
        for headers in (
            {"Origin": "http://evil.example"},
            {"Origin": "null"},
            {"Sec-Fetch-Site": "cross-site"},
        ):
            answer = await guarded.http.post("/sign-in", data={"token": token}, headers=headers)
            problem(answer, 403)
