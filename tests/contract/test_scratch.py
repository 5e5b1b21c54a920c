"""The scratch notes over HTTP: by id and by key, their time to live, the clean-up and the counts."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from sqlalchemy import text

NOTES = "/cc/mem0/scratch/notes"


@pytest.fixture
async def notes(steady, core, pg):
    """The API over an empty table of notes."""
    await pg.execute("TRUNCATE cc.scratch_note")
    return steady


@pytest.fixture
def expire(core):
    """Let a note's time be up."""

    async def make_old(key: str) -> None:
        async with core.sessions() as db, db.begin():
            statement = text(
                "UPDATE cc.scratch_note SET expires_at = now() - interval '1 second' WHERE key = :key"
            )
            await db.execute(statement, {"key": key})

    return make_old


async def keep(client, key: str, **more) -> dict:
    answer = await client.post(NOTES, json={"key": key} | more)
    assert answer.status_code == 200, answer.text
    return answer.json()


class TestOneNote:
    async def test_it_is_found_by_id_and_by_key(self, notes) -> None:
        made = await keep(notes, "a/b c", content="draft", ttl_days=3)
        assert (await notes.get(f"{NOTES}/{made['id']}")).json() == made
        assert (await notes.get(f"{NOTES}/key/a/b%20c")).json() == made
        born, ends = (datetime.fromisoformat(made[name]) for name in ("created_at", "expires_at"))
        assert ends - born == timedelta(days=3)
        assert (made["content"], made["is_expired"]) == ("draft", False)

    async def test_a_key_is_given_once(self, notes, problem) -> None:
        await keep(notes, "k", content="first")
        refused = problem(await notes.post(NOTES, json={"key": "k", "content": "second"}), 400)
        assert "'k'" in refused["detail"]
        assert (await notes.get(f"{NOTES}/key/k")).json()["content"] == "first"

    async def test_the_key_of_a_note_whose_time_is_up_is_free_again(self, notes, expire) -> None:
        await keep(notes, "k", content="first")
        await expire("k")
        assert (await notes.get(f"{NOTES}/key/k")).status_code == 404
        assert (await keep(notes, "k", content="second"))["content"] == "second"

    async def test_what_a_change_leaves_out_stays(self, notes) -> None:
        made = await keep(notes, "k", content="first", ttl_days=1)
        path = f"{NOTES}/{made['id']}"
        changed = (await notes.put(path, json={"content": "second"})).json()
        assert changed == made | {"content": "second"}
        longer = (await notes.put(path, json={"ttl_days": 9})).json()
        assert longer["content"] == "second"
        assert longer["expires_at"] > made["expires_at"]
        assert (await notes.put(path, json={"content": None})).json()["content"] is None
        assert (await notes.put(path, json={})).status_code == 200

    async def test_deleting_gives_a_sentence_and_once_only(self, notes) -> None:
        made = await keep(notes, "k")
        path = f"{NOTES}/{made['id']}"
        assert (await notes.delete(path)).json() == {"message": f"Note {made['id']} deleted successfully"}
        gone = [await notes.delete(path), await notes.get(path), await notes.put(path, json={"content": "x"})]
        assert [(one.status_code, one.json()["detail"]) for one in gone] == [(404, "Note not found")] * 3

    async def test_reading_may_give_it_its_time_anew(self, notes, pg) -> None:
        made = await keep(notes, "k", ttl_days=2)
        await pg.execute("UPDATE cc.scratch_note SET expires_at = expires_at - interval '1 day'")
        path = f"{NOTES}/{made['id']}"
        before = (await notes.get(path)).json()["expires_at"]
        after = (await notes.get(path, params={"extend": True})).json()["expires_at"]
        assert before < made["expires_at"] < after

    @pytest.mark.parametrize(
        "body",
        [{}, {"key": ""}, {"key": "k" * 256}, {"key": "k", "ttl_days": 0}, {"key": "k", "ttl_days": 366},
         {"key": "k\x00"}, {"key": "k", "colour": "red"}],
    )  # fmt: skip
    async def test_bad_input_is_named(self, notes, problem, body) -> None:
        problem(await notes.post(NOTES, json=body), 422)

    @pytest.mark.parametrize("wanted", ["0", str(2**63 - 1)])
    async def test_one_that_never_was(self, notes, problem, wanted) -> None:
        problem(await notes.get(f"{NOTES}/{wanted}"), 404)


class TestMany:
    async def test_a_list_is_in_the_order_of_keys_and_filters_by_their_beginning(self, notes, expire) -> None:
        for key in ("b", "a_1", "a%1", "a1", "ä"):
            await keep(notes, key)
        await expire("a1")

        async def keys(**query) -> list[str]:
            return [one["key"] for one in (await notes.get(NOTES, params=query)).json()]

        assert await keys() == ["a%1", "a_1", "b", "ä"]
        assert await keys(key_prefix="a%") == ["a%1"]
        assert await keys(key_prefix="a_") == ["a_1"]
        assert await keys(key_prefix="a", include_expired=True) == ["a%1", "a1", "a_1"]
        assert await keys(limit=1, offset=1) == ["a_1"]

    async def test_what_is_over_is_counted_and_cleaned_up(self, notes, expire) -> None:
        for key in ("a", "b", "c"):
            await keep(notes, key)
        await expire("a")
        counted = (await notes.get("/cc/mem0/scratch/stats")).json()
        assert [counted[f"{name}_notes"] for name in ("total", "active", "expired")] == [3, 2, 1]
        assert counted["ttl_settings"]["default_ttl_days"] == 7
        cleaned = (await notes.post("/cc/mem0/scratch/cleanup")).json()
        assert cleaned == {"status": "completed", "deleted": 1}
        assert (await notes.get("/cc/mem0/scratch/stats")).json()["total_notes"] == 2

    async def test_the_janitor_does_what_is_asked_in_the_background(self, notes, expire, eventually) -> None:
        await keep(notes, "a")
        await expire("a")
        said = (await notes.post("/cc/mem0/scratch/cleanup/background")).json()
        assert said == {"message": "Cleanup scheduled in background"}

        async def is_clean() -> bool:
            return (await notes.get("/cc/mem0/scratch/stats")).json()["total_notes"] == 0

        await eventually(is_clean)
        said = (await notes.post("/cc/mem0/scratch/stats/background")).json()
        assert said == {"message": "Stats collection scheduled in background"}

    async def test_each_change_is_an_event(self, notes, pg) -> None:
        made = await keep(notes, "told")
        await notes.put(f"{NOTES}/{made['id']}", json={"content": "x"})
        await notes.delete(f"{NOTES}/{made['id']}")
        rows = await pg.fetch(
            "SELECT type FROM l1.record WHERE module = 'scratch' AND subject = 'told' ORDER BY xact"
        )
        assert [row["type"] for row in rows] == ["note.created", "note.changed", "note.deleted"]
