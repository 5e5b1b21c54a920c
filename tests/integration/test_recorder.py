"""The recorder on a real Postgres: shared commits, mistakes, kills, a full queue."""  # house: length (one subject)

from __future__ import annotations

import asyncio
import errno
import functools
import os
import random
import shutil
import signal
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from uuid import UUID

import asyncpg
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cos.backend.cc.logging import log_l1
from cos.common import db
from cos.errors import (
    BadInput,
    CosError,
    DiskFull,
    Overloaded,
    PostgresDiskFull,
    PostgresUnreachable,
    Unavailable,
    WrongPassword,
)
from cos.infra.folder import DataFolder
from cos.infra.postgres import EmbeddedPostgres
from cos.memory.event import NewEvent, PromptTrace, new_event
from cos.memory.recorder import Recorder
from cos.migrations.apply import migrate

DEADLINE_SECONDS = 30.0


class CountingBell:
    """Counts how often it was rung."""

    def __init__(self) -> None:
        self.rings = 0

    def ring(self) -> None:
        self.rings += 1


def event(n: int = 0, **more) -> NewEvent:
    return new_event(**{"type": "step", "module": "cc", "data": {"n": n}} | more)


@pytest.fixture
async def begin(servers, clean) -> AsyncIterator[Callable[..., Recorder]]:
    """Start recorders, stopped at the end."""
    begun: list[Recorder] = []

    async def start(**options) -> Recorder:
        recorder = Recorder(**{"url": servers.postgres.url, "doorbell": CountingBell()} | options)
        begun.append(recorder)
        await recorder.start()
        return recorder

    yield start
    async with asyncio.timeout(DEADLINE_SECONDS):
        await asyncio.gather(*(recorder.stop() for recorder in begun))


@pytest.fixture
async def locked(pg) -> AsyncIterator[asyncpg.transaction.Transaction]:
    """Hold every insert back until this transaction is rolled back."""
    transaction = pg.transaction()
    await transaction.start()
    await pg.execute("LOCK TABLE l1.record IN SHARE MODE")
    yield transaction
    if not pg.is_closed() and pg.is_in_transaction():
        await transaction.rollback()


@pytest.fixture
def at_postgres(pg, eventually) -> Callable[[], Awaitable[None]]:
    """Wait until a statement has reached Postgres and waits for a lock."""

    async def waits() -> bool:
        return await pg.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted") > 0

    return functools.partial(eventually, waits)


def begin_calls(recorder: Recorder, count: int, first: int = 0) -> list[asyncio.Task]:
    """Let so many callers begin, in order."""
    return [asyncio.create_task(recorder.record(event(first + n))) for n in range(count)]


async def settle(recorder: Recorder, waiting: int) -> None:
    """Let callers that have just begun come as far as they can; then so many records stand in the queue."""
    for _ in range(5):
        await asyncio.sleep(0)
    assert recorder.waiting_records == waiting


@pytest.fixture
async def recorder(begin) -> Recorder:
    return await begin()


class TestSharing:
    async def test_callers_at_the_same_moment_share_transactions(self, begin, pg) -> None:
        """A thousand events of as many callers cost a few commits, and each caller gets its own record."""
        recorder = await begin()
        events = [event(n) for n in range(1000)]
        async with asyncio.timeout(DEADLINE_SECONDS):
            recorded = await asyncio.gather(*(recorder.record(one) for one in events))
        assert [one.id for one in recorded] == [one.id for one in events]
        kept = await pg.fetch("SELECT id, xact, seq FROM l1.record")
        assert {row["id"]: (row["xact"], row["seq"]) for row in kept} == {
            one.id: one.position for one in recorded
        }
        transactions = len({row["xact"] for row in kept})
        assert transactions <= 20
        assert recorder._doorbell.rings == transactions

    async def test_one_caller_alone_does_not_wait_for_company(self, recorder, pg) -> None:
        positions = [(await recorder.record(event(n))).position for n in range(20)]
        assert positions == sorted(positions)
        assert await pg.fetchval("SELECT count(DISTINCT xact) FROM l1.record") == 20

    async def test_company_that_comes_while_one_writes_alone_shares_the_rest(
        self, begin, locked, at_postgres, pg
    ) -> None:
        """The first has a connection of its own; those who come in the meantime are two batches, one a lane."""
        recorder = await begin()
        first = begin_calls(recorder, 1)
        await at_postgres()
        others = begin_calls(recorder, 20, first=1)
        await asyncio.sleep(0)
        await locked.rollback()
        async with asyncio.timeout(DEADLINE_SECONDS):
            await asyncio.gather(*first, *others)
        shares = await pg.fetch("SELECT count(*) FROM l1.record GROUP BY xact")
        assert sorted(row["count"] for row in shares) == [1, 10, 10]

    async def test_one_who_writes_alone_and_gives_up_hurts_nobody(
        self, recorder, locked, at_postgres, pg
    ) -> None:
        [first] = begin_calls(recorder, 1)
        await at_postgres()
        first.cancel()
        second = begin_calls(recorder, 1, first=1)
        await asyncio.wait([first])
        assert first.cancelled()
        await locked.rollback()
        async with asyncio.timeout(DEADLINE_SECONDS):
            [found] = await asyncio.gather(*second)
        assert await pg.fetchval("SELECT data->>'n' FROM l1.record WHERE id = $1", found.id) == "1"

    async def test_each_callers_order_is_kept(self, begin, pg) -> None:
        """Sixteen callers, each one record after the other, on both lanes."""
        recorder = await begin()

        async def call(name: str) -> None:
            for n in range(25):
                await recorder.record(event(n, subject=name))

        async with asyncio.timeout(DEADLINE_SECONDS):
            await asyncio.gather(*(call(f"caller-{n}") for n in range(16)))
        rows = await pg.fetch(
            "SELECT subject, array_agg((data->>'n')::int ORDER BY xact, seq) AS n FROM l1.record GROUP BY subject"
        )
        assert {row["subject"]: row["n"] for row in rows} == {
            f"caller-{n}": list(range(25)) for n in range(16)
        }

    async def test_record_many_is_one_transaction_in_the_given_order(self, begin, pg) -> None:
        """More than a batch holds, too."""
        recorder = await begin()
        events = [event(n) for n in range(2500)]
        recorded = await recorder.record_many(events)
        assert [one.id for one in recorded] == [one.id for one in events]
        rows = await pg.fetch("SELECT id, xact FROM l1.record ORDER BY xact, seq")
        assert [row["id"] for row in rows] == [one.id for one in events]
        assert len({row["xact"] for row in rows}) == 1
        assert await recorder.record_many([]) == []

    async def test_every_member_is_kept_alone_and_in_company(self, begin, pg) -> None:
        """The two statements that write give the same row."""
        recorder = await begin()
        members = {
            "type": "a:b/c",
            "module": "m.1",
            "subject": 'é\u2028 "quoted" \\ \U0001f600',
            "level": "warning",
            "request_id": "r",
            "trace_id": "t",
            "traceparent": "p",
        }
        events = [
            event(n, **members, idempotency_key=f"k{n}", prompt=PromptTrace(prompt="\\p", tokens_in=n))
            for n in range(3)
        ]
        await recorder.record(events[0])
        await recorder.record_many(events[1:])
        rows = await pg.fetch(
            "SELECT r.*, p.prompt, p.tokens_in FROM l1.record r JOIN l1.prompt_trace p ON p.record_id = r.id "
            "ORDER BY seq"
        )
        for one, row in zip(events, rows, strict=True):
            assert {name: row[name] for name in members} == members
            for name in ("id", "time", "recorded_at", "idempotency_key"):
                assert row[name] == getattr(one, name)
            assert (row["prompt"], row["tokens_in"]) == (one.prompt.prompt, one.prompt.tokens_in)

    @settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(
        st.lists(
            st.sampled_from(
                [
                    *(
                        b"null",
                        b"true",
                        b"-0",
                        b"1e5",
                        b"12345678901234567890123",
                        b'""',
                        b'"\\u00e9\\/"',
                        b'"\\\\u0000"',
                    ),
                    *(
                        b' {"b":1,"a":2,"a":3}\n',
                        b"[ ]",
                        b"{}",
                        b'[null,"\\u0041"]',
                        '"é\u2028\U0001f600"'.encode(),
                        b"\t7 ",
                    ),
                ]
            ),
            min_size=1,
            max_size=5,
        )
    )
    async def test_data_is_kept_to_the_byte(self, recorder, pg, raws) -> None:
        """Alone and in company, whatever JSON it is; null is a value, not an absence (property)."""
        recorded = await recorder.record_many([event(raw_data=raw) for raw in raws])
        kept = {row[0]: row[1] for row in await pg.fetch("SELECT id, data::text FROM l1.record")}
        assert [kept[one.id].encode() for one in recorded] == raws


class TestMistakes:
    @pytest.fixture
    async def no_thirteen(self, pg) -> AsyncIterator[None]:
        """Let Postgres refuse one event, as a full partition or a later constraint would."""
        await pg.execute("ALTER TABLE l1.record ADD CONSTRAINT no_thirteen CHECK (subject <> 'thirteen')")
        yield
        await pg.execute("ALTER TABLE l1.record DROP CONSTRAINT no_thirteen")

    @pytest.fixture
    async def full(self, core, pg) -> AsyncIterator[None]:
        """Let Postgres fail each insert as it does when the file of a table cannot grow."""
        await pg.execute("""
            CREATE FUNCTION l1.no_room() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN RAISE 'could not extend file: No space left on device' USING ERRCODE = 'disk_full'; END $$;
            CREATE TRIGGER no_room BEFORE INSERT ON l1.record FOR EACH ROW EXECUTE FUNCTION l1.no_room()
        """)
        yield
        await pg.execute("DROP TRIGGER no_room ON l1.record; DROP FUNCTION l1.no_room()")

    async def test_what_postgres_refuses_fails_its_caller_alone(self, recorder, no_thirteen, pg) -> None:
        subjects = [str(n) for n in range(40)]
        subjects[13] = "thirteen"
        async with asyncio.timeout(DEADLINE_SECONDS):
            found = await asyncio.gather(
                *(recorder.record(event(subject=subject)) for subject in subjects), return_exceptions=True
            )
        failed = [one for one in found if isinstance(one, BaseException)]
        assert failed == [found[13]]
        assert isinstance(found[13], BadInput)
        assert "no_thirteen" in found[13].detail
        assert "\n" not in found[13].detail
        assert await pg.fetchval("SELECT count(*) FROM l1.record") == 39

    async def test_record_many_is_all_or_nothing(self, recorder, no_thirteen, pg) -> None:
        good, bad = event(), event(subject="thirteen")
        async with asyncio.timeout(DEADLINE_SECONDS):
            refused, kept = await asyncio.gather(
                recorder.record_many([event(), bad, event()]), recorder.record(good), return_exceptions=True
            )
        assert isinstance(refused, BadInput)
        assert kept.id == good.id
        assert [row["id"] for row in await pg.fetch("SELECT id FROM l1.record")] == [good.id]

    async def test_a_full_disk_is_told_as_one_by_either_way(self, core, full, pg) -> None:
        """A transaction's own record once ended in a 500 where the recorder's was told as a full disk."""
        with pytest.raises(DiskFull, match="free some space"):
            await core.recorder.record(event())
        async with core.sessions() as session:
            with pytest.raises(DiskFull, match="free some space"):
                await log_l1(session, "step", {"n": 1}, module="cc")
        assert await pg.fetchval("SELECT count(*) FROM l1.record") == 0

    async def test_a_record_and_its_prompt_are_kept_together_or_not_at_all(self, recorder, pg) -> None:
        await pg.execute("ALTER TABLE l1.prompt_trace ADD CONSTRAINT no_model CHECK (model IS NULL)")
        try:
            with pytest.raises(BadInput, match="no_model"):
                await recorder.record(event(prompt=PromptTrace(model="m")))
        finally:
            await pg.execute("ALTER TABLE l1.prompt_trace DROP CONSTRAINT no_model")
        assert await pg.fetchval("SELECT count(*) FROM l1.record") == 0

    async def test_an_event_that_was_never_checked_fails_its_caller_alone(self, begin, pg) -> None:
        """One that cannot even be written as a statement, which `new_event` would have refused."""
        recorder = await begin()
        unchecked = msgspec.structs.replace(event(), traceparent="\ud800")
        async with asyncio.timeout(DEADLINE_SECONDS):
            found = await asyncio.gather(
                *(recorder.record(one) for one in (event(), unchecked, event())), return_exceptions=True
            )
        assert isinstance(found[1], CosError)
        assert await pg.fetchval("SELECT count(*) FROM l1.record") == 2
        assert not isinstance(found[0], BaseException)
        assert not isinstance(found[2], BaseException)

    async def test_a_wrong_account_is_told_to_every_caller(self, servers, begin) -> None:
        recorder = await begin(url=servers.postgres.url.replace("//cos@", "//nobody@"))
        async with asyncio.timeout(DEADLINE_SECONDS):
            found = await asyncio.gather(
                *(recorder.record(event()) for _ in range(5)), return_exceptions=True
            )
        assert [type(one) for one in found] == [WrongPassword] * 5


class TestIdempotencyKeys:
    async def test_the_same_key_from_many_callers_makes_one_record(self, begin, pg) -> None:
        """On two lanes and two recorders at once; everyone gets the one record, and one of them made it."""
        first, second = await begin(), await begin()
        async with asyncio.timeout(DEADLINE_SECONDS):
            found = await asyncio.gather(
                *(
                    recorder.record(event(n, idempotency_key="k"))
                    for n in range(50)
                    for recorder in (first, second)
                )
            )
        assert len({(one.id, one.position) for one in found}) == 1
        assert Counter(one.duplicate for one in found) == {True: 99, False: 1}
        assert await pg.fetchval("SELECT count(*) FROM l1.record") == 1

    async def test_batches_that_lock_each_other_out_are_written_all_the_same(
        self, begin, pg, eventually
    ) -> None:
        """Two calls hold the same keys in opposite order: Postgres ends one of them, and nobody may notice."""
        first, second = await begin(), await begin()
        held = pg.transaction()
        await held.start()
        await pg.execute(
            "INSERT INTO l1.record (id, module, type, level, data, time, recorded_at, idempotency_key) "
            "VALUES (gen_random_uuid(), 'cc', 'x', 'info', '1', now(), now(), 'middle')"
        )
        orders = (("a", "middle", "b"), ("b", "middle", "a"))
        calls = [
            asyncio.create_task(one.record_many([event(idempotency_key=key) for key in order]))
            for one, order in zip((first, second), orders, strict=True)
        ]

        async def both_wait() -> bool:
            return await pg.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted") == 2

        await eventually(both_wait)
        await held.rollback()
        async with asyncio.timeout(DEADLINE_SECONDS):
            one, other = await asyncio.gather(*calls)
        assert {found.id for found in one} == {found.id for found in other}
        assert await pg.fetchval("SELECT count(*) FROM l1.record") == 3

    async def test_twice_in_one_batch(self, begin, pg) -> None:
        """The second one is told about the first one's record and prompt trace."""
        recorder = await begin()
        first, second = await recorder.record_many(
            [event(n, idempotency_key="k", prompt=PromptTrace(prompt=str(n))) for n in range(2)]
        )
        assert (first.duplicate, second.duplicate) == (False, True)
        assert (second.id, second.position, second.prompt_id) == (first.id, first.position, first.prompt_id)
        assert [row["prompt"] for row in await pg.fetch("SELECT prompt FROM l1.prompt_trace")] == ["0"]

    async def test_across_the_recorder_and_log_l1(self, core, pg) -> None:
        """While the caller's transaction is open the recorder waits for it: commit or rollback decides."""
        for commits in (False, True):
            async with core.sessions() as db:
                logged = await log_l1(db, "paid", {"by": "log_l1"}, idempotency_key=f"k-{commits}")
                other = asyncio.create_task(
                    core.recorder.record(event(idempotency_key=f"k-{commits}", data={"by": "recorder"}))
                )
                async with asyncio.timeout(DEADLINE_SECONDS):
                    while not await pg.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"):
                        assert not other.done()
                await (db.commit() if commits else db.rollback())
            async with asyncio.timeout(DEADLINE_SECONDS):
                found = await other
            assert (found.id == logged.base_log_id, found.duplicate) == (commits, commits)
            async with core.sessions() as db:
                again = await log_l1(db, "paid", idempotency_key=f"k-{commits}")
                await db.commit()
            assert (again.base_log_id, again.duplicate) == (found.id, True)


@pytest.fixture(scope="module")
async def durable(tmp_path_factory) -> AsyncIterator[EmbeddedPostgres]:
    """A Postgres of our own that waits for the disk, as in production: a test kills it."""
    folder = DataFolder.open(tmp_path_factory.mktemp("durable"))
    postgres = EmbeddedPostgres(folder=folder, fsync=True)
    await postgres.start()
    await migrate(postgres.url)
    yield postgres
    await postgres.stop()
    shutil.rmtree(folder.sockets)


class TestTrouble:
    async def test_postgres_killed_under_load(self, durable, begin, eventually) -> None:
        """Each call either succeeded and its record is there once, or says that Postgres was away."""
        recorder = await begin(url=durable.url, timeout_seconds=20.0)
        dice = random.Random(3)  # noqa: S311  (repeatable, not a secret)
        outcomes: dict[UUID, bool] = {}
        stopped = False

        async def call() -> None:
            while not stopped:
                many = [event(n) for n in range(dice.choice([1, 1, 3]))]
                try:
                    found = await recorder.record_many(many)
                except Unavailable:
                    outcomes.update({one.id: False for one in many})
                else:
                    assert [one.id for one in found] == [one.id for one in many]
                    assert not any(one.duplicate for one in found)
                    outcomes.update({one.id: True for one in many})

        callers = [asyncio.create_task(call()) for _ in range(12)]
        for kill in range(3):
            before = len(outcomes)

            async def moves(before: int = before) -> bool:
                return len(outcomes) > before + 50

            await eventually(moves)
            dead = durable.pid
            assert dead is not None
            os.kill(dead, signal.SIGKILL)

            async def back(dead: int = dead, restarts: int = kill + 1) -> bool:
                return durable.restarts >= restarts and durable.state == "running" and durable.pid != dead

            await eventually(back)
        stopped = True
        async with asyncio.timeout(DEADLINE_SECONDS):
            await asyncio.gather(*callers)
        connection = await asyncpg.connect(durable.url)
        kept = Counter(row["id"] for row in await connection.fetch("SELECT id FROM l1.record"))
        await connection.close()
        assert set(kept.values()) == {1}
        assert {key for key, recorded in outcomes.items() if recorded} <= set(kept)
        assert set(kept) <= set(outcomes)

    @pytest.mark.parametrize("company", [0, 3])
    async def test_one_whose_answer_was_lost_is_written_again_without_becoming_two(
        self, recorder, pg, company
    ) -> None:
        """What a lane does after a connection was lost in mid-commit: the same event, which is there already."""
        one = event(idempotency_key="k", prompt=PromptTrace(prompt="p"))
        first = await recorder.record(one)
        again = (await recorder.record_many([one, *(event() for _ in range(company))]))[0]
        assert again == first
        assert not again.duplicate
        assert await pg.fetchval("SELECT count(*) FROM l1.record") == 1 + company

    async def test_a_postgres_that_is_away_is_waited_for_and_then_told(self, tmp_path, begin) -> None:
        recorder = await begin(url=f"postgresql://cos@/cos?host={tmp_path}", timeout_seconds=0.3)
        async with asyncio.timeout(DEADLINE_SECONDS):
            with pytest.raises(PostgresUnreachable, match="may or may not be there"):
                await recorder.record(event())

    async def test_a_postgres_that_has_no_room_is_not_waited_for(self, tmp_path, begin, monkeypatch) -> None:
        """Nobody waits for what does not come by itself: not one caller alone, and not many."""
        monkeypatch.setattr(db, "SEGMENT_BYTES", 2**62)
        recorder = await begin(url=f"postgresql://cos@/cos?host={tmp_path}", timeout_seconds=3600.0)
        async with asyncio.timeout(DEADLINE_SECONDS):
            for callers in (1, 5):
                calls = (recorder.record(event()) for _ in range(callers))
                found = await asyncio.gather(*calls, return_exceptions=True)
                assert [type(one) for one in found] == [PostgresDiskFull] * callers

    async def test_one_that_takes_no_connection_on_a_full_disk_is_not_waited_for(
        self, servers, begin, monkeypatch
    ) -> None:
        """Postgres fails a new connection whose cache file finds no room; that was taken for one that is away."""

        async def refuse(*_: object, **__: object) -> None:
            raise asyncpg.DiskFullError("could not write init file: No space left on device")

        recorder = await begin(timeout_seconds=10 * DEADLINE_SECONDS)
        monkeypatch.setattr(asyncpg, "connect", refuse)
        async with asyncio.timeout(DEADLINE_SECONDS):
            with pytest.raises(DiskFull, match="takes no new connection"):
                await recorder.record(event())

    async def test_one_that_dies_for_want_of_room_may_have_kept_the_event(
        self, begin, locked, at_postgres, pg, monkeypatch
    ) -> None:
        """Its answer was lost: the caller is told so, and not that nothing has happened."""

        async def refuse(*_: object, **__: object) -> None:
            raise ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused")

        recorder = await begin(lanes=1, timeout_seconds=3600.0)
        [call] = begin_calls(recorder, 1)
        await at_postgres()
        monkeypatch.setattr(db, "SEGMENT_BYTES", 2**62)
        monkeypatch.setattr(asyncpg, "connect", refuse)
        await pg.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'cos recorder' "
            "AND wait_event_type = 'Lock'"
        )
        async with asyncio.timeout(DEADLINE_SECONDS):
            with pytest.raises(PostgresDiskFull, match="may or may not be there; try again with the same"):
                await call

    async def test_a_postgres_that_hangs_keeps_no_caller_beyond_its_time(self, begin, locked, pg) -> None:
        """It took the statement and never answers; the call ends at its own time, and the record is there once."""
        recorder = await begin(timeout_seconds=0.3)
        one = event()
        loop = asyncio.get_running_loop()
        began = loop.time()
        with pytest.raises(PostgresUnreachable, match="may or may not be there"):
            await recorder.record(one)
        assert loop.time() - began < 10  # far below the statement's own time, far above ours
        await locked.rollback()
        async with asyncio.timeout(DEADLINE_SECONDS):
            await recorder.stop()
        assert await pg.fetchval("SELECT count(*) FROM l1.record WHERE id = $1", one.id) == 1


class TestQueue:
    async def test_a_full_queue_turns_callers_away_after_their_time(self, begin, locked, at_postgres) -> None:
        recorder = await begin(lanes=1, queue_records=5, timeout_seconds=0.5)
        held = begin_calls(recorder, 1)
        await at_postgres()
        queued = begin_calls(recorder, 5)
        await settle(recorder, 5)
        with pytest.raises(Overloaded, match=r"5 records wait to be written and none got through in 0\.5 s"):
            await recorder.record(event())
        await locked.rollback()
        await asyncio.gather(*held, *queued, return_exceptions=True)

    async def test_those_who_wait_for_room_get_it(self, begin, locked, at_postgres, pg) -> None:
        recorder = await begin(lanes=1, queue_records=5)
        held = begin_calls(recorder, 1)
        await at_postgres()
        callers = begin_calls(recorder, 30)
        await settle(recorder, 5)
        await locked.rollback()
        async with asyncio.timeout(DEADLINE_SECONDS):
            await asyncio.gather(*held, *callers)
        assert await pg.fetchval("SELECT count(*) FROM l1.record") == 31

    async def test_room_that_cancelled_callers_leave_is_given_away(
        self, begin, locked, at_postgres, pg
    ) -> None:
        """Nothing of the queue has to be written any more: who waits for room must hear of it all the same."""
        recorder = await begin(lanes=1, queue_records=5)
        held = begin_calls(recorder, 1)
        await at_postgres()
        queued = begin_calls(recorder, 5)
        await settle(recorder, 5)
        waiting = begin_calls(recorder, 1)
        await settle(recorder, 5)
        for caller in queued:
            caller.cancel()
        await asyncio.gather(*queued, return_exceptions=True)
        await locked.rollback()
        async with asyncio.timeout(10):  # its own time would be 30 s
            await asyncio.gather(*held, *waiting)
        assert await pg.fetchval("SELECT count(*) FROM l1.record") == 2

    async def test_one_that_comes_while_others_are_told_of_room_is_written(
        self, begin, locked, at_postgres
    ) -> None:
        """The lane has found the queue empty and is busy telling so: it looks again before it goes to sleep."""
        recorder = await begin(lanes=1, queue_records=1)
        held = begin_calls(recorder, 1)
        await at_postgres()
        given_up = begin_calls(recorder, 1)
        await settle(recorder, 1)
        given_up += begin_calls(recorder, 1)
        await settle(recorder, 1)
        async with recorder._room:
            for caller in given_up:
                caller.cancel()
            await locked.rollback()
            await asyncio.gather(*held)
            await settle(recorder, 0)
            late = begin_calls(recorder, 1)
            await settle(recorder, 1)
        async with asyncio.timeout(10):  # its own time would be 30 s
            await asyncio.gather(*late)
        await asyncio.gather(*given_up, return_exceptions=True)

    async def test_more_than_the_queue_holds_goes_alone(self, begin) -> None:
        recorder = await begin(queue_records=5)
        async with asyncio.timeout(DEADLINE_SECONDS):
            assert len(await recorder.record_many([event(n) for n in range(50)])) == 50

    async def test_a_cancelled_caller_hurts_nobody(self, begin, locked, at_postgres, pg) -> None:
        """Neither one whose event waits nor one whose event is being written."""
        recorder = await begin(lanes=1)
        callers = begin_calls(recorder, 1)
        await at_postgres()
        callers += begin_calls(recorder, 6, first=1)
        await settle(recorder, 6)
        cancelled = [callers[n] for n in (0, 1, 4)]
        for caller in cancelled:
            caller.cancel()
        await asyncio.gather(*cancelled, return_exceptions=True)
        await locked.rollback()
        async with asyncio.timeout(DEADLINE_SECONDS):
            await asyncio.gather(*(caller for caller in callers if caller not in cancelled))
            await recorder.record(event(7))
        # What was with Postgres already is there; what waited for its turn and was given up is not.
        kept = await pg.fetchval("SELECT array_agg((data->>'n')::int ORDER BY xact, seq) FROM l1.record")
        assert kept == [0, 2, 3, 5, 6, 7]


class TestStop:
    async def test_it_finishes_what_waits(self, begin, locked, at_postgres, pg) -> None:
        recorder = await begin(lanes=1)
        callers = begin_calls(recorder, 1)
        await at_postgres()
        callers += begin_calls(recorder, 29)
        await settle(recorder, 29)
        stopping = asyncio.create_task(recorder.stop())
        await asyncio.sleep(0)
        with pytest.raises(Unavailable, match="stopping"):
            await recorder.record(event(99))
        await locked.rollback()
        async with asyncio.timeout(DEADLINE_SECONDS):
            await asyncio.gather(*callers, stopping)
        assert await pg.fetchval("SELECT count(*) FROM l1.record") == 30

    async def test_who_waits_for_room_is_turned_away(self, begin, locked, at_postgres, pg) -> None:
        recorder = await begin(lanes=1, queue_records=1)
        callers = begin_calls(recorder, 1)
        await at_postgres()
        callers += begin_calls(recorder, 1)
        await settle(recorder, 1)
        turned_away = begin_calls(recorder, 3)
        await settle(recorder, 1)
        stopping = asyncio.create_task(recorder.stop())
        await asyncio.sleep(0)
        await locked.rollback()
        async with asyncio.timeout(DEADLINE_SECONDS):
            await asyncio.gather(*callers, stopping)
            found = await asyncio.gather(*turned_away, return_exceptions=True)
        assert [str(one) for one in found] == ["COS is stopping and takes no more events."] * 3
        assert await pg.fetchval("SELECT count(*) FROM l1.record") == 2

    async def test_before_the_start_and_after_the_stop(self, servers) -> None:
        others = asyncio.all_tasks()
        recorder = Recorder(url=servers.postgres.url, doorbell=CountingBell())
        with pytest.raises(Unavailable, match="takes no more events"):
            await recorder.record(event())
        await recorder.start()
        await recorder.stop()
        await recorder.stop()
        with pytest.raises(Unavailable, match="takes no more events"):
            await recorder.record(event())
        assert asyncio.all_tasks() <= others
