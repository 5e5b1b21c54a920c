"""The dashboard's readers and dead letters as HTML: shown, decided about, paged, and bad input explained."""

from __future__ import annotations

import re
import uuid
from collections.abc import AsyncIterator

import pytest

HTMX = {"HX-Request": "true"}
NOBODY = "00000000-0000-7000-8000-000000000000"

BURY = """
    INSERT INTO highway.dead_letter (id, group_name, generation, module, xact, seq, type, subject, event, error,
        traceback, attempts, state, first_failed_at, last_failed_at)
    VALUES ($1, $2, 1, 'editor', '7'::xid8, $3, $4, $5, $6, $7, 'Traceback <here>', 3, $8, now(), now())
"""


@pytest.fixture
def bury(pg):
    """Put a letter into the table, as a group does that gave up."""
    count = 0

    async def put(
        *, group="indexer", kind="chapter.saved", subject="ch01", state="dead", error="no <heading>"
    ):
        nonlocal count
        count += 1
        letter = uuid.UUID(int=(1 << 100) + count)
        event = '{"type": "chapter.saved", "data": {"big": 12345678901234567890123}}'
        await pg.execute(BURY, letter, group, count, kind, subject, event, error, state)
        return letter

    return put


@pytest.fixture
async def projection(client, pg) -> AsyncIterator[str]:
    """A projection that has stopped; gone afterwards, because COS is degraded with it."""
    await pg.execute(
        """
        INSERT INTO highway.projection (name, slot, version, state, xact, seq, definition, error, failed_xact,
            failed_seq, created_at, moved_at)
        VALUES ('titles', 'live', 2, 'failed', '7'::xid8, 1, '{"modules": null, "types": null}', 'no <title>',
            '7'::xid8, 2, now(), now())
        """
    )
    yield "titles"
    await pg.execute("TRUNCATE highway.projection")


def letters(text: str) -> list[str]:
    return re.findall(r'<a id="l-([0-9a-f-]+)"', text)


class TestLetters:
    async def test_none_is_good_news(self, client) -> None:
        assert "There is no dead letter" in (await client.get("/ui/letters")).text

    async def test_pages_go_back_without_a_gap(self, client, bury) -> None:
        made = [str(await bury()) for _ in range(120)]
        seen, path = [], "/ui/letters?group=indexer"
        while path and len(seen) < 200:
            text = (await client.get(path)).text
            seen += letters(text)
            found = re.search(r'<a href="([^"]+)" rel="next">', text)
            path = found[1].replace("&amp;", "&") if found else ""
        assert seen == made[::-1]

    @pytest.mark.parametrize(
        ("query", "count"),
        [
            ("group=indexer", 2),
            ("group=mailer", 1),
            ("type=chapter.*", 2),
            ("subject=ch02", 1),
            ("state=delivered", 1),
        ],
    )
    async def test_filters(self, client, bury, query, count) -> None:
        await bury()
        await bury(subject="ch02", state="delivered")
        await bury(group="mailer", kind="prompt.answered", subject=None)
        assert len(letters((await client.get(f"/ui/letters?{query}")).text)) == count

    async def test_one_is_shown_whole_and_escaped(self, client, bury) -> None:
        """Its error, traceback and event to the byte; as a page and beside the list."""
        letter = await bury()
        for headers in ({}, HTMX):
            text = (await client.get(f"/ui/letters/{letter}", headers=headers)).text
            assert "no &lt;heading&gt;" in text
            assert "Traceback &lt;here&gt;" in text
            assert "12345678901234567890123" in text

    async def test_without_a_script_a_decision_leads_back(self, client, bury, pg) -> None:
        """One is requeued, all of a filter are dropped; each decision is an event."""
        first, second = await bury(), await bury(group="mailer")
        one = await client.post(f"/ui/letters/{first}/requeue")
        many = await client.post("/ui/letters/drop?group=mailer")
        assert [(one.status_code, one.headers["location"]), (many.status_code, many.headers["location"])] == [
            (303, "/ui/letters")
        ] * 2
        assert await pg.fetch("SELECT id, state FROM highway.dead_letter") == [(first, "queued")]
        events = (await client.get("/events")).json()["events"]
        assert [event["type"] for event in events] == ["dead_letter.requeued", "dead_letters.dropped"]
        assert second is not None

    async def test_htmx_gets_the_changed_list_and_a_word(self, client, bury) -> None:
        """What was filtered stays filtered."""
        await bury()
        await bury(group="mailer")
        text = (await client.post("/ui/letters/requeue?group=mailer", headers=HTMX)).text
        assert "1 letter will be delivered once more." in text
        assert len(letters(text)) == 1
        assert 'id="notice"' in text

    @pytest.mark.parametrize(
        ("method", "path", "status", "said"),
        [
            ("GET", f"/ui/letters/{NOBODY}", 404, "no dead letter"),
            ("GET", "/ui/letters/x", 422, "letter_id"),
            ("GET", "/ui/letters?before=x", 422, "not the id"),
            ("GET", "/ui/letters?state=lost", 422, "none of"),
            ("GET", "/ui/letters?group=a%00", 422, "NUL"),
            ("POST", f"/ui/letters/{NOBODY}/requeue", 404, "no dead letter"),
            ("POST", f"/ui/letters/{NOBODY}/drop", 404, "no dead letter"),
            ("POST", f"/ui/letters/{NOBODY}/burn", 404, "burn"),
            ("POST", "/ui/letters/burn", 404, "burn"),
            ("POST", "/ui/letters/drop?state=lost", 422, "none of"),
        ],
    )
    async def test_bad_input_is_one_sentence(self, client, bury, method, path, status, said) -> None:
        await bury()
        for headers in ({}, HTMX):
            answer = await client.request(method, path, headers=headers)
            assert answer.status_code == status
            assert said in answer.text
        assert len(letters((await client.get("/ui/letters")).text)) == 1

    async def test_only_a_dead_one_is_requeued(self, client, bury) -> None:
        letter = await bury(state="queued")
        answer = await client.post(f"/ui/letters/{letter}/requeue", headers=HTMX)
        assert answer.status_code == 409
        assert "only a dead one" in answer.text


class TestProjections:
    async def test_a_failed_one_says_where_and_why(self, client, projection) -> None:
        text = (await client.get("/ui/readers")).text
        assert "no &lt;title&gt;" in text
        assert "7-2" in text
        assert "failed" in text

    async def test_it_is_resumed_paused_and_rebuilt(self, client, projection, pg) -> None:
        """By plain forms too; each act is an event."""
        for act in ("resume", "pause", "rebuild"):
            answer = await client.post(f"/ui/readers/{projection}/{act}")
            assert (answer.status_code, answer.headers["location"]) == (303, "/ui/readers")
        states = await pg.fetch("SELECT slot, state FROM highway.projection ORDER BY slot")
        assert [tuple(row) for row in states] == [("live", "paused"), ("next", "running")]
        events = (await client.get("/events")).json()["events"]
        assert [event["type"] for event in events] == [
            "projection.resumed",
            "projection.paused",
            "projection.rebuilding",
        ]

    @pytest.mark.parametrize(
        ("path", "status", "said"),
        [
            ("/ui/readers/nobody/pause", 404, "no projection"),
            ("/ui/readers/titles/pause", 409, "not running"),
            ("/ui/readers/titles/burn", 404, "burn"),
        ],
    )
    async def test_bad_input_is_one_sentence(self, client, projection, path, status, said) -> None:
        answer = await client.post(path, headers=HTMX)
        assert answer.status_code == status
        assert said in answer.text
