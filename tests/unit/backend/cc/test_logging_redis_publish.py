"""`log_l1` and what is announced: after the outermost commit, once a record, and never after a rollback."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import HealthCheck, given, settings, strategies

from cos.backend.cc import logging as cc_logging
from cos.backend.cc.logging import L1Ids, log_l1
from cos.errors import BadInput, Conflict
from cos.runtime.core import Core


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch) -> list[L1Ids]:
    """Listen at the hook, which goes on to do its work."""
    seen: list[L1Ids] = []
    real = cc_logging._publish_l1_event

    def listening(ids, doorbell) -> None:
        seen.append(ids)
        real(ids, doorbell)

    monkeypatch.setattr(cc_logging, "_publish_l1_event", listening)
    return seen


class TestLogL1RedisPublishAfterCommit:
    """A real commit on a real Postgres, a real stream in a real Redis."""

    async def test_publish_after_commit_event_log(self, core: Core, published, stream_of, eventually) -> None:
        """Nothing is announced before the commit; after it the hook runs once and the event stands in the stream."""
        async with core.sessions() as db:
            ids = await log_l1(db, "chapter.saved", {"words": 2031}, request_id="req-1", trace_id="trace-1")
            assert published == []
            assert await stream_of("cc") == []
            await db.commit()
        assert published == [ids]
        [(position, event)] = await eventually(lambda: stream_of("cc"))
        assert position == str(ids.position)
        assert event["id"] == str(ids.event_log_id)
        assert event["type"] == "chapter.saved"
        assert event["data"] == {"words": 2031}
        assert (event["requestid"], event["traceid"]) == ("req-1", "trace-1")

    async def test_publish_after_commit_prompt_trace(
        self, core: Core, published, stream_of, eventually, pg
    ) -> None:
        """A prompt and its answer are kept with the record, and the record is announced once."""
        trace = {"prompt": "Shorten.", "response": "Done.", "model": "m-1", "latency_ms": 812, "tokens_in": 9}
        async with core.sessions() as db:
            ids = await log_l1(db, "prompt.answered", {"chapter": "ch01"}, trace)
            await db.commit()
        assert len(published) == 1
        await eventually(lambda: stream_of("cc"))
        row = await pg.fetchrow("SELECT * FROM l1.prompt_trace WHERE record_id = $1", ids.base_log_id)
        assert row["id"] == ids.prompt_trace_id
        assert {name: row[name] for name in trace} == trace
        assert row["tokens_out"] is None

    async def test_no_publish_after_rollback(self, core: Core, published, pg, stream_of) -> None:
        """A rolled-back record is neither kept nor announced."""
        async with core.sessions() as db:
            await log_l1(db, "chapter.saved")
            await db.rollback()
        assert published == []
        assert await pg.fetchval("SELECT count(*) FROM l1.record") == 0
        assert await stream_of("cc") == []

    async def test_a_session_that_is_closed_without_commit_publishes_nothing(
        self, core: Core, published
    ) -> None:
        """Closing rolls back; what comes later in the same session object is not mixed up with it."""
        db = core.sessions()
        await log_l1(db, "never.kept")
        await db.close()
        kept = await log_l1(db, "kept")
        await db.commit()
        await db.close()
        assert published == [kept]

    async def test_once_per_record_in_order(self, core: Core, published, stream_of, eventually) -> None:
        """Several records of one transaction are announced once each, in the order in which they were written."""
        async with core.sessions() as db:
            written = [await log_l1(db, "step", {"n": n}) for n in range(5)]
            await db.commit()
        assert published == written

        async def all_there():
            return len(await stream_of("cc")) == 5

        await eventually(all_there)
        assert [event["data"]["n"] for _, event in await stream_of("cc")] == [0, 1, 2, 3, 4]

    async def test_a_released_savepoint_waits_for_the_outermost_commit(self, core: Core, published) -> None:
        """SQLAlchemy fires `after_commit` when a savepoint is released; ours waits for the real one."""
        async with core.sessions() as db:
            async with db.begin_nested():
                inner = await log_l1(db, "inner")
            assert published == []
            await db.commit()
        assert published == [inner]

    async def test_a_rolled_back_savepoint_takes_its_records_along(self, core: Core, published, pg) -> None:
        """Only what the savepoint held is dropped, releases inside it included."""
        async with core.sessions() as db:
            before = await log_l1(db, "before")
            savepoint = await db.begin_nested()
            await log_l1(db, "dropped")
            async with db.begin_nested():
                await log_l1(db, "dropped.too")
            await savepoint.rollback()
            after = await log_l1(db, "after")
            await db.commit()
        assert published == [before, after]
        assert await pg.fetchval("SELECT array_agg(type ORDER BY seq) FROM l1.record") == ["before", "after"]

    async def test_a_failing_hook_does_not_undo_the_commit(self, core: Core, monkeypatch, pg) -> None:
        """The commit is a fact; what fails after it is logged, and the next record is announced as ever."""

        def failing(ids, doorbell) -> None:
            raise RuntimeError("the bell is broken")

        monkeypatch.setattr(cc_logging, "_publish_l1_event", failing)
        async with core.sessions() as db:
            await log_l1(db, "kept")
            await db.commit()
        assert await pg.fetchval("SELECT count(*) FROM l1.record") == 1

    async def test_the_same_session_again(self, core: Core, published) -> None:
        """Two transactions of one session announce their own records, once each."""
        async with core.sessions() as db:
            first = await log_l1(db, "first")
            await db.commit()
            second = await log_l1(db, "second")
            await db.commit()
        assert published == [first, second]

    async def test_a_used_idempotency_key_gives_the_first_record(self, core: Core, published, pg) -> None:
        """The same key again writes nothing, announces nothing, and names the first record and its prompt trace."""
        async with core.sessions() as db:
            first = await log_l1(db, "paid", {"n": 1}, {"prompt": "p"}, idempotency_key="k-1")
            await db.commit()
        async with core.sessions() as db:
            again = await log_l1(db, "paid", {"n": 2}, {"prompt": "q"}, idempotency_key="k-1")
            await db.commit()
        assert again.duplicate
        assert (again.base_log_id, again.position) == (first.base_log_id, first.position)
        assert again.prompt_trace_id == first.prompt_trace_id
        assert published == [first]
        assert await pg.fetchval("SELECT data->>'n' FROM l1.record") == "1"

    @settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(
        steps=strategies.recursive(
            strategies.just("record"),
            lambda inner: strategies.tuples(strategies.booleans(), strategies.lists(inner, max_size=3)),
            max_leaves=8,
        ),
        commits=strategies.booleans(),
    )
    async def test_any_nesting_announces_exactly_what_is_committed(
        self, core, published, pg, steps, commits
    ) -> None:
        """Whatever savepoints are released or rolled back: announced = committed, in order (property)."""

        async def play(db, step) -> None:
            if step == "record":
                await log_l1(db, "played")
                return
            keep, inner = step
            savepoint = await db.begin_nested()
            for one in inner:
                await play(db, one)
            await (savepoint.commit() if keep else savepoint.rollback())

        published.clear()
        await pg.execute("TRUNCATE l1.record, l1.prompt_trace")
        async with core.sessions() as db:
            await play(db, steps)
            await (db.commit() if commits else db.rollback())
        kept = await pg.fetch("SELECT id FROM l1.record ORDER BY xact, seq")
        assert [ids.base_log_id for ids in published] == [row["id"] for row in kept]


class TestLogL1Input:
    """What cannot be recorded is refused in words, and the caller's transaction stays usable."""

    @pytest.mark.parametrize(
        ("arguments", "named"),
        [
            ({"event_type": "1st"}, "1st"),
            ({"event_type": "x" * 101}, "at most 100"),
            ({"event_type": "a b"}, "a b"),
            ({"event_type": "ok", "module": "no spaces"}, "no spaces"),
            ({"event_type": "ok", "payload": {"x": float("nan")}}, "NaN"),
            ({"event_type": "ok", "payload": {"x": "\ud800"}}, "surrogate"),
            ({"event_type": "ok", "payload": {"x": "a\x00b"}}, "NUL"),
            ({"event_type": "ok", "payload": {"x": object()}}, "object"),
            ({"event_type": "ok", "payload": "x" * (1024 * 1024)}, "at most 1048576"),
            ({"event_type": "ok", "level": "loud"}, "loud"),
            ({"event_type": "ok", "prompt_data": {"promt": "typo"}}, "promt"),
            ({"event_type": "ok", "prompt_data": {"tokens_in": -1}}, "tokens_in"),
        ],
    )
    async def test_bad_input_names_itself(self, core: Core, arguments, named) -> None:
        """The sentence names the bad value or the limit; the transaction goes on."""
        async with core.sessions() as db:
            with pytest.raises(BadInput, match=named):
                await log_l1(db, **arguments)
            await log_l1(db, "fine")
            await db.commit()

    async def test_data_comes_back_to_the_byte(self, core: Core, stream_of, eventually) -> None:
        """Key order, large integers and every character survive the log and the stream."""
        payload = {"z": 1, "a": [12345678901234567890123, 0.1, "é\u2028\U0001f600\\u0000"], "m": {"": None}}
        async with core.sessions() as db:
            await log_l1(db, "bytes", payload)
            await db.commit()
        [(_, event)] = await eventually(lambda: stream_of("cc"))
        assert event["data"] == payload
        assert list(event["data"]) == ["z", "a", "m"]


class TestOrdered:
    """Strict commit order for one subject."""

    async def test_positions_follow_the_commits_of_a_subject(self, core: Core) -> None:
        """The second writer waits for the first one's commit, so its position is higher."""
        order: list[str] = []

        async def write(name: str, may_commit: asyncio.Event, wrote: asyncio.Event) -> L1Ids:
            async with core.sessions() as db:
                ids = await log_l1(db, "edit", {"by": name}, subject="ch01", ordered=True)
                wrote.set()
                await may_commit.wait()
                order.append(name)
                await db.commit()
                return ids

        first_may, first_wrote, second_may, second_wrote = (asyncio.Event() for _ in range(4))
        first = asyncio.create_task(write("first", first_may, first_wrote))
        await first_wrote.wait()
        second_may.set()
        second = asyncio.create_task(write("second", second_may, second_wrote))
        first_may.set()
        async with asyncio.timeout(20):
            ids = [await first, await second]
        assert order == ["first", "second"]
        assert ids[0].position < ids[1].position

    async def test_too_late_to_be_ordered(self, core: Core) -> None:
        """Once the transaction has written, order can no longer be promised, and that is said."""
        async with core.sessions() as db:
            await log_l1(db, "first")
            with pytest.raises(Conflict, match="first write"):
                await log_l1(db, "second", ordered=True)
