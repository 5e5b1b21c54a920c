"""Projections on real servers: each event takes effect exactly once, in the order of the log."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import asyncpg
import msgspec
import pytest

from cos.memory.delivery import Event
from cos.memory.event import NewEvent, new_event
from cos.memory.highway import Highway
from cos.memory.position import Position
from cos.runtime.consumers import Consumers
from cos.runtime.core import Core

TABLE = "CREATE TABLE word (number bigint GENERATED ALWAYS AS IDENTITY, n int, position text, via text)"


class Word(msgspec.Struct):
    n: int


def event(n: int = 0, **more: Any) -> NewEvent:
    return new_event(**{"type": "word", "module": "cc", "data": {"n": n}} | more)


@pytest.fixture(autouse=True)
async def no_schemas(core: Core, pg: asyncpg.Connection) -> None:
    for row in await pg.fetch("SELECT nspname FROM pg_namespace WHERE nspname LIKE 'projection\\_%'"):
        await pg.execute(f"DROP SCHEMA {row[0]} CASCADE")  # house: sql (a name that the catalogue gave)


@pytest.fixture
def run(core: Core) -> Callable[..., Consumers]:
    def make(*highways: Highway) -> Consumers:
        return Consumers(highways=highways, database_url=core.database_url, redis_url=core.redis_url)

    return make


class Words:
    """A projection that keeps what it saw, and does what the test says."""

    def __init__(self, *, via: str = "a", **more: Any) -> None:
        self.via = via
        self.highway = Highway()
        self.act: Callable[[int], Any] = lambda n: None
        self.highway.projection(**{"name": "words", "setup": TABLE} | more)(self.apply)

    async def apply(self, connection: asyncpg.Connection, events: list[Event[Word]]) -> None:
        for one in events:
            self.act(one.data.n)
        await connection.executemany(
            "INSERT INTO word (n, position, via) VALUES ($1, $2, $3)",
            [(one.data.n, str(one.position), self.via) for one in events],
        )


async def words(pg: asyncpg.Connection, column: str = "n") -> list[Any]:
    try:
        rows = await pg.fetch("SELECT * FROM projection_words.word ORDER BY number")
    except (asyncpg.UndefinedTableError, asyncpg.InvalidSchemaNameError):
        return []
    return [row[column] for row in rows]


@pytest.fixture
def projected(pg, eventually) -> Callable[..., Any]:
    """Wait until the table holds exactly these numbers, in this order."""

    async def wait(*numbers: int) -> None:
        async def same() -> bool:
            return await words(pg) == list(numbers)

        await eventually(same)

    return wait


async def slots(pg: asyncpg.Connection) -> dict[str, tuple[int, str]]:
    rows = await pg.fetch("SELECT slot, version, state FROM highway.projection WHERE name = 'words'")
    return {row["slot"]: (row["version"], row["state"]) for row in rows}


class TestFeeding:
    async def test_all_modules_in_the_order_of_positions(self, core: Core, run, pg, projected) -> None:
        await core.recorder.record_many([event(n, module=f"m{n % 3}") for n in range(50)])
        given = Words(batch=7)
        async with run(given.highway):
            await projected(*range(50))
            await core.recorder.record(event(50, module="new"))
            await projected(*range(51))
        positions = [Position.parse(one) for one in await words(pg, "position")]
        assert positions == sorted(positions)

    async def test_two_processes_and_a_cancelled_one_still_exactly_once(
        self, core: Core, run, pg, projected
    ) -> None:
        """However the processes that feed it come and go, each event is there once and in order."""
        given = Words(batch=3)
        await core.recorder.record_many([event(n) for n in range(200)])
        for _ in range(5):
            async with run(given.highway), run(Words(batch=5, via="b").highway):
                await asyncio.sleep(0)
        async with run(given.highway), run(Words(batch=5, via="b").highway):
            await projected(*range(200))

    async def test_bodies_come_from_redis_where_it_has_them_and_from_the_log_where_not(
        self, core: Core, run, pg, projected, eventually, stream_of
    ) -> None:
        """A stream that lacks some, or holds another record at a position, changes nothing."""
        await core.recorder.record_many([event(n) for n in range(100)])

        async def announced() -> bool:
            return len(await stream_of("cc")) == 100

        await eventually(announced)
        await core.relay_looper.stop()
        number = await core.streams.generation()
        key = core.streams.key("cc", number)
        entries = await core.redis.xrange(key)
        await core.redis.delete(key)
        wrong = msgspec.json.decode(entries[0][1][b"event"]) | {
            "data": {"n": -1},
            "id": entries[0][0].decode(),
        }
        for n, (entry, fields) in enumerate(entries):
            if n % 2 == 0:
                await core.redis.xadd(key, fields if n else {"event": msgspec.json.encode(wrong)}, id=entry)
        given = Words()
        consumers = run(given.highway)
        async with consumers:
            await projected(*range(100))
        assert (consumers.bodies.from_redis, consumers.bodies.from_log) == (49, 51)

    async def test_only_what_it_asks_for(self, core: Core, run, projected) -> None:
        given = Words(modules=["a"], types=["w.*"], batch=2)
        kinds = [("a", "w.x"), ("b", "w.x"), ("a", "other"), *[("b", "w.x")] * 20, ("a", "w.y")]
        for n, (module, kind) in enumerate(kinds):
            await core.recorder.record(event(n, module=module, type=kind))
        async with run(given.highway):
            await projected(0, 23)


class TestFailing:
    async def test_a_poison_event_stops_it_where_it_is(
        self, core: Core, run, pg, projected, eventually
    ) -> None:
        """What stands before it is applied, nothing after it; resumed, it goes on from there."""
        given = Words(attempts=2, batch=10)

        def act(n: int) -> None:
            if n == 5:
                raise ValueError("five")

        given.act = act
        await core.recorder.record_many([event(n) for n in range(10)])
        async with run(given.highway):

            async def failed() -> bool:
                return (await slots(pg)).get("live") == (1, "failed")

            await eventually(failed)
            assert await words(pg) == [0, 1, 2, 3, 4]
            row = await pg.fetchrow("SELECT error, failed_seq FROM highway.projection")
            assert row["error"] == "ValueError: five"
            given.act = lambda n: None
            await pg.execute("UPDATE highway.projection SET state = 'running'")
            await projected(*range(10))

    async def test_or_is_buried_and_delivered_when_requeued(
        self, core: Core, run, pg, projected, eventually
    ) -> None:
        given = Words(attempts=2, on_poison="bury")
        given.act = lambda n: 1 / 0 if n == 1 else None
        await core.recorder.record_many([event(0), event(1), event(2), event(data={"n": "x"}), event(4)])
        async with run(given.highway):
            await projected(0, 2, 4)
            rows = await pg.fetch("SELECT * FROM highway.dead_letter ORDER BY id")
            assert [(row["group_name"], row["attempts"]) for row in rows] == [
                ("projection:words", 2),
                ("projection:words", 1),
            ]
            given.act = lambda n: None
            await pg.execute("UPDATE highway.dead_letter SET state = 'queued'")
            await projected(0, 2, 4, 1)

            async def decided() -> bool:
                states = await pg.fetch("SELECT state FROM highway.dead_letter ORDER BY id")
                return [row["state"] for row in states] == ["delivered", "dead"]

            await eventually(decided)


class TestRebuilding:
    async def test_a_new_version_is_built_beside_the_old_and_takes_its_place(
        self, core: Core, run, pg, projected, eventually
    ) -> None:
        await core.recorder.record_many([event(n) for n in range(20)])
        async with run(Words().highway):
            await projected(*range(20))
            second = Words(via="b", version=2, batch=3)
            async with run(second.highway):

                async def swapped() -> bool:
                    return set(await words(pg, "via")) == {"b"}

                await core.recorder.record(event(20))
                await eventually(swapped)
                await core.recorder.record(event(21))
                await projected(*range(22))
        assert await slots(pg) == {"live": (2, "running")}
        assert set(await words(pg, "via")) == {"b"}
        old = await pg.fetch("SELECT n FROM projection_words__old.word ORDER BY number")
        assert [row["n"] for row in old][:20] == list(range(20))
