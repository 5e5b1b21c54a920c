"""Scratch notes on the dashboard: kept, changed, deleted, paged by key, and bad input explained."""

from __future__ import annotations

import re

import pytest

HTMX = {"HX-Request": "true"}
FORM = {"content-type": "application/x-www-form-urlencoded"}


@pytest.fixture(autouse=True)
async def no_notes(client, pg) -> None:
    await pg.execute("TRUNCATE cc.scratch_note")


@pytest.fixture
def keep(client):
    async def send(key: str, content: str = "") -> int:
        answer = await client.post("/cc/mem0/scratch/notes", json={"key": key, "content": content})
        assert answer.status_code == 200, answer.text
        return answer.json()["id"]

    return send


def keys(text: str) -> list[str]:
    return re.findall(r'<a id="n-[0-9]+"[^>]*>([^<]+)</a>', text)


class TestNotes:
    async def test_a_plain_form_keeps_changes_and_deletes(self, client) -> None:
        """Without a script each act leads back to the page, which shows it."""
        made = await client.post("/ui/notes", content="key=ch3&content=who%3F&ttl_days=7", headers=FORM)
        assert (made.status_code, made.headers["location"]) == (303, "/ui/notes")
        [note] = (await client.get("/cc/mem0/scratch/notes")).json()
        assert (note["key"], note["content"]) == ("ch3", "who?")
        await client.post(f"/ui/notes/{note['id']}/change", content="content=me", headers=FORM)
        assert ">me</textarea>" in (await client.get(f"/ui/notes/{note['id']}")).text
        assert keys((await client.get("/ui/notes")).text) == ["ch3"]
        await client.post(f"/ui/notes/{note['id']}/change", content="content=", headers=FORM)
        assert (await client.get(f"/cc/mem0/scratch/notes/{note['id']}")).json()["content"] == ""
        gone = await client.post(f"/ui/notes/{note['id']}/remove")
        assert gone.status_code == 303
        assert "There is no note" in (await client.get("/ui/notes")).text

    async def test_pages_go_on_by_key_without_a_gap(self, client, keep) -> None:
        made = [f"k/{number:03}" for number in range(70)]
        for key in made:
            await keep(key)
        await keep("other")
        seen, path = [], "/ui/notes?prefix=k/"
        while path and len(seen) < 100:
            text = (await client.get(path)).text
            seen += keys(text)
            found = re.search(r'<a href="([^"]+)" rel="next">', text)
            path = found[1].replace("&amp;", "&") if found else ""
        assert seen == made

    async def test_what_stands_in_one_is_text(self, client, keep) -> None:
        evil = "</textarea><script>alert(1)</script>"
        note = await keep("<b>", evil)
        for path in ("/ui/notes", f"/ui/notes/{note}"):
            assert "<script>alert" not in (await client.get(path)).text

    async def test_htmx_gets_the_changed_list_and_a_word(self, client) -> None:
        answer = await client.post("/ui/notes", content="key=ch3", headers=FORM | HTMX)
        assert keys(answer.text) == ["ch3"]
        assert "ch3 is kept." in answer.text

    @pytest.mark.parametrize(
        ("method", "path", "body", "status", "said"),
        [
            ("POST", "/ui/notes", "content=x", 422, "key"),
            ("POST", "/ui/notes", "key=a&ttl_days=999", 422, "ttl_days"),
            ("POST", "/ui/notes", "key=a&ttl_days=soon", 422, "ttl_days"),
            ("POST", "/ui/notes", "key=a%00b", 422, "NUL"),
            ("POST", "/ui/notes/7777/change", "content=x", 404, "not found"),
            ("POST", "/ui/notes/7777/burn", "", 404, "burn"),
            ("POST", "/ui/notes/0/remove", "", 422, "note_id"),
            ("GET", "/ui/notes/99999999999999999999", "", 422, "note_id"),
            ("GET", "/ui/notes/7777", "", 404, "not found"),
            ("GET", "/ui/notes?after=%00", "", 422, "NUL"),
        ],
    )
    async def test_bad_input_is_one_sentence(self, client, method, path, body, status, said) -> None:
        for headers in (FORM, FORM | HTMX):
            answer = await client.request(method, path, content=body, headers=headers)
            assert answer.status_code == status, answer.text
            assert said in answer.text
            assert "Traceback" not in answer.text
