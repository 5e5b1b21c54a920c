"""The pages of tokens and webhooks, and who did what: shown once, kept from others, not to be forged."""

from __future__ import annotations

import html
import json
import re

import pytest

from cos.backend.auth import secret
from cos.backend.auth.reserved import RESERVED

HTMX = {"HX-Request": "true"}
READ_BY_A_PERSON = {"Accept": "text/html,*/*"}
TOKEN = re.compile(r"cos_[0-9a-f]{16}_[A-Za-z0-9_-]{43}")
NOBODY = "00000000-0000-7000-8000-000000000000"
#: Every page and act of both, in a path that stands for it.
GUARDED = [
    ("GET", "/ui/webhooks"),
    ("GET", f"/ui/webhooks/{NOBODY}"),
    ("GET", "/ui/live/webhooks"),
    ("POST", "/ui/webhooks"),
    ("POST", f"/ui/webhooks/{NOBODY}/rotate"),
    ("GET", "/ui/access"),
    ("GET", "/ui/live/access"),
    ("POST", "/ui/access"),
    ("POST", "/ui/access/1/revoke"),
]


class TestTokens:
    @pytest.mark.parametrize("headers", [HTMX, {}], ids=["htmx", "plain"])
    async def test_one_is_made_and_shown_once(self, client, capsys, headers) -> None:
        """In the answer that made it, which nobody may keep; on no page, in no event or line."""
        form = {"name": "editor", "scope": "write", "expires_in_days": "90"}
        made = await client.post("/ui/access", data=form, headers=headers)
        assert (made.status_code, made.headers["cache-control"]) == (200, "no-store")
        [token] = TOKEN.findall(made.text)
        bearer = {"Authorization": f"Bearer {token}"}
        assert (await client.post("/events", json={"type": "a.b"}, headers=bearer)).status_code == 201
        assert (await client.get("/cc/tokens", headers=bearer)).status_code == 403
        said = "".join(capsys.readouterr())
        for path in ("/ui/access", "/ui/access?ended=1", "/ui/events", "/events?limit=100"):
            said += (await client.get(path)).text
        assert secret.token_id(token) in said
        assert token[21:] not in said  # past cos_, the id and _

    @pytest.mark.parametrize(
        ("path", "form", "status", "said"),
        [
            ("/ui/access", {"name": "-"}, 422, "name: "),
            ("/ui/access", {"name": "x", "scope": "god"}, 422, "scope: "),
            ("/ui/access", {"name": "x", "expires_in_days": "0"}, 422, "expires_in_days: "),
            ("/ui/access/nobody/revoke", {}, 404, "There is no token 'nobody'."),
            ("/ui/webhooks", {"url": "x"}, 422, "'x'"),
            ("/ui/webhooks", {"url": "http://10.0.0.1/"}, 403, "10.0.0.1"),
            (f"/ui/webhooks/{NOBODY}/pause", {}, 404, NOBODY),
            (f"/ui/webhooks/{NOBODY}/dance", {}, 404, "cannot be asked to 'dance'"),
        ],
    )
    async def test_bad_input_is_explained(self, client, path, form, status, said) -> None:
        """In the words of the API."""
        answer = await client.post(path, data=form, headers=HTMX)
        assert (answer.status_code, said in html.unescape(answer.text)) == (status, True), answer.text

    async def test_a_filter_that_is_none(self, client) -> None:
        for query, said in (("state=gone", "is none of active"), ("before=x", "is not the id of a webhook")):
            answer = await client.get(f"/ui/webhooks?{query}")
            assert (answer.status_code, said in html.unescape(answer.text)) == (422, True)


class TestWhoMay:
    async def test_only_who_administers(self, guarded, problem) -> None:
        """403 with the scope that is wanted: as a problem for programs, as a page or a sentence for people."""
        bearer = guarded.bearer(await guarded.token("write"))
        for method, path in GUARDED:
            problem(await guarded.http.request(method, path, headers=bearer), 403, "with the scope admin")
            page = await guarded.http.request(method, path, headers=bearer | READ_BY_A_PERSON)
            assert page.status_code == 403
            assert page.headers["content-type"].startswith("text/html")
            assert "with the scope admin" in page.text
            assert "frame-ancestors" in page.headers["content-security-policy"]
            part = await guarded.http.request(method, path, headers=bearer | HTMX)
            assert (part.status_code, "<html" in part.text) == (403, False)

    async def test_the_api_answers_programs_with_problems(self, guarded, problem) -> None:
        bearer = guarded.bearer(await guarded.token("read"))
        answer = await guarded.http.post("/cc/tokens", json={}, headers=bearer | READ_BY_A_PERSON)
        problem(answer, 403, "with the scope admin")


class TestTold:
    @pytest.mark.parametrize("kind", sorted(RESERVED))
    async def test_who_may_only_write_cannot_forge_an_act(self, guarded, problem, kind) -> None:
        """By no way in."""
        writer = guarded.bearer(await guarded.token("write"))
        event = {"type": kind, "module": "cc", "data": {"by": {"name": "the boss"}}}
        lines = {**writer, "content-type": "application/x-ndjson"}
        for path, sent in (
            ("/events", {"json": event, "headers": writer}),
            ("/events", {"json": [event], "headers": writer}),
            ("/events", {"content": json.dumps(event), "headers": lines}),
            ("/cc/debug/log", {"json": {"event_type": kind, "payload": {}}, "headers": writer}),
        ):
            problem(await guarded.http.post(path, **sent), 403, "told by COS itself")
        assert [one for one in await guarded.events(kind) if "boss" in str(one["data"])] == []

    async def test_who_administers_may_import_them(self, guarded) -> None:
        admin = guarded.bearer(await guarded.token())
        event = {"type": "config.reloaded", "module": "cc", "data": {}}
        assert (await guarded.http.post("/events", json=event, headers=admin)).status_code == 201

    async def test_what_has_another_shape_breaks_no_page(self, client) -> None:
        for data in ({"by": "<script>"}, [1], None, {"by": {"name": "x" * 500}, "path": "<b>"}):
            answer = await client.post("/events", json={"type": "admin.acted", "module": "cc", "data": data})
            assert answer.status_code == 201, answer.text
        assert (await client.get("/ui/access")).status_code == 200

    async def test_acts_on_the_page_are_told_as_those_over_the_api(self, guarded) -> None:
        admin = guarded.bearer(await guarded.token())
        form = {"name": "m", "version": "1"}
        await guarded.http.post("/ui/modules", data=form, headers=admin)
        told = [(one["data"]["method"], one["data"]["path"]) for one in await guarded.events("admin.acted")]
        assert told == [("POST", "/ui/modules")]
