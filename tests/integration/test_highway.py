"""The highway under attack: each record in its stream once, in order."""  # house: length (one subject)

from __future__ import annotations

import asyncio
import json
import os
import random
import shutil
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from redis.asyncio import Redis
from redis.exceptions import RedisError

from cos.common import messages
from cos.common.looper import Looper
from cos.common.redis import create_redis
from cos.config import load_settings
from cos.errors import CosError, RedisUnreachable
from cos.infra.folder import DataFolder
from cos.infra.postgres import EmbeddedPostgres
from cos.infra.redis import AOF_NAME, EmbeddedRedis
from cos.memory import l15_highway, sql
from cos.memory.event import NewEvent, new_event
from cos.memory.generation import Generation, begin
from cos.memory.l1_log import row_of, rows_of
from cos.memory.l15_highway import MAX_BATCH_BYTES, Relay
from cos.memory.position import START, Position
from cos.memory.reader import Query, page
from cos.memory.streams import Streams
from cos.memory.vitals import Gauge
from cos.migrations.apply import migrate
from cos.runtime.core import Core

DEADLINE_SECONDS = 30.0

#: What stands in one stream, or what Postgres holds of one module: positions and record ids, in order.
Entries = list[tuple[str, str]]


@dataclass(frozen=True)
class Servers:
    """A Postgres and a Redis that tests may stop, kill and damage."""

    postgres: EmbeddedPostgres
    redis: EmbeddedRedis
    folder: DataFolder


@pytest.fixture(scope="module")
async def own(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Servers]:
    """Servers of this module's own."""
    folder = DataFolder.open(tmp_path_factory.mktemp("own"))
    servers = Servers(
        EmbeddedPostgres(folder=folder, fsync=False), EmbeddedRedis(folder=folder, fsync=False), folder
    )
    await asyncio.gather(servers.postgres.start(), servers.redis.start())
    await migrate(servers.postgres.url)
    yield servers
    await asyncio.gather(servers.redis.stop(), servers.postgres.stop())
    shutil.rmtree(folder.sockets)


def event(n: int = 0, **more: Any) -> NewEvent:
    return new_event(**{"type": "step", "module": "cc", "data": {"n": n}} | more)


class Highway:
    """A log, its streams, and relays made by hand: what they do happens when a test says so."""

    def __init__(self, servers: Servers) -> None:
        self.url = servers.postgres.url
        self.redis_url = servers.redis.url
        self.redis: Redis = create_redis(self.redis_url)
        self.streams = Streams(redis=self.redis, namespace="mem0")
        self.relays: list[Relay] = []
        self.failures: list[CosError] = []
        self._log: asyncpg.Connection | None = None

    async def log(self) -> asyncpg.Connection:
        """Give a connection to the log, a new one where the server was restarted."""
        if self._log is None or self._log.is_closed():
            self._log = await asyncpg.connect(self.url)
        return self._log

    async def empty(self) -> None:
        log = await self.log()
        await log.execute("TRUNCATE l1.record, l1.prompt_trace, l1.generation")
        await self.redis.flushall()

    async def write(self, *events: NewEvent) -> None:
        """Record each in a transaction of its own."""
        log = await self.log()
        for one in events:
            await log.execute(sql.INSERT_ONE, *row_of(one))

    def relay(self, **options: Any) -> Relay:
        made = Relay(
            **{"url": self.url, "redis": self.redis, "redis_url": self.redis_url, "streams": self.streams}
            | options
        )
        self.relays.append(made)
        return made

    async def drain(self, relay: Relay, *, held: bool = False) -> None:
        """Give the relay turns until the streams are whole; a turn that fails is repeated.

        With `held`, until it finds nothing more to move, because an open transaction holds the rest back.
        """
        relay._verified_at = float("-inf")  # as if it had last looked at the streams long ago
        with suppress(TimeoutError):  # what is wrong then is for the test to show
            async with asyncio.timeout(DEADLINE_SECONDS):
                while True:
                    try:
                        if await relay.turn() > 0 and (held or await self.is_whole()):
                            return
                    except CosError as error:
                        self.failures.append(error)

    async def stop(self) -> None:
        for relay in self.relays:
            await relay.close()
        if self._log is not None:
            await self._log.close()
        await self.redis.aclose()

    async def committed(self) -> dict[str, Entries]:
        rows = await (await self.log()).fetch(
            "SELECT id, module, xact, seq FROM l1.record ORDER BY xact, seq"
        )
        found: dict[str, Entries] = {}
        for row in rows:
            found.setdefault(row["module"], []).append((f"{row['xact']}-{row['seq']}", str(row["id"])))
        return found

    async def announced(self, generation: int | None = None) -> dict[str, Entries]:
        number = generation if generation is not None else await self.streams.generation()
        found: dict[str, Entries] = {}
        for key in await self.redis.keys("mem0.stream.*"):
            module, _, of = key.decode().removeprefix("mem0.stream.").rpartition(".")
            if int(of) == number:
                entries = await self.redis.xrange(key)
                found[module] = [(at.decode(), str(messages.decode(of[b"event"]).id)) for at, of in entries]
        return found

    async def is_whole(self) -> bool:
        """Whether each stream holds exactly what is committed of its module, once and in order."""
        try:
            return await self.announced() == await self.committed()
        except RedisError:
            return False


@pytest.fixture
async def highway(servers, clean) -> AsyncIterator[Highway]:
    made = Highway(servers)
    yield made
    await made.stop()


@pytest.fixture
async def own_highway(own: Servers) -> AsyncIterator[Highway]:
    """One over servers that the test may damage."""
    made = Highway(own)
    await made.empty()
    yield made
    await made.stop()


@pytest.fixture
def whole(eventually) -> Callable[[Highway], Awaitable[None]]:
    """Wait until the streams and the log agree, and say what differs if they never do."""

    async def wait(highway: Highway) -> None:
        with suppress(pytest.fail.Exception):
            await eventually(highway.is_whole)
        assert await highway.announced() == await highway.committed()

    return wait


class TestWriters:
    async def test_sixteen_writers_who_commit_roll_back_and_take_their_time(
        self, core: Core, highway, whole
    ) -> None:
        """Every commit is announced, no rollback is, at whatever moment each happens."""
        expected: set[str] = set()

        async def write(number: int) -> None:
            dice = random.Random(number)  # noqa: S311  (repeatable, not a secret)
            connection = await asyncpg.connect(highway.url)
            for _ in range(25):
                written: list[str] = []
                transaction = connection.transaction()
                await transaction.start()
                for _ in range(dice.randint(1, 4)):
                    one = event(module=f"m{dice.randint(0, 3)}")
                    savepoint = connection.transaction() if dice.random() < 0.3 else None
                    if savepoint is not None:
                        await savepoint.start()
                    await connection.execute(sql.INSERT_ONE, *row_of(one))
                    if dice.random() < 0.1:
                        await connection.execute("SELECT pg_sleep(0.02)")
                    if savepoint is not None and dice.random() < 0.5:
                        await savepoint.rollback()
                        continue
                    if savepoint is not None:
                        await savepoint.commit()
                    written.append(str(one.id))
                if dice.random() < 0.3:
                    await transaction.rollback()
                else:
                    await transaction.commit()
                    expected.update(written)
                    core.doorbell.ring()
            await connection.close()

        async with asyncio.timeout(DEADLINE_SECONDS):
            await asyncio.gather(*(write(number) for number in range(16)))
        await whole(highway)
        found = [record for entries in (await highway.announced()).values() for _, record in entries]
        assert len(found) == len(set(found))
        assert set(found) == expected

    @pytest.mark.parametrize("ending", ["commit", "rollback"])
    async def test_an_open_transaction_holds_back_what_came_after_it(self, highway, ending) -> None:
        """Nothing is announced that something could still appear before; then everything, in order."""
        relay = highway.relay()
        await highway.write(event(1))
        await highway.drain(relay)
        old = await asyncpg.connect(highway.url)
        transaction = old.transaction()
        await transaction.start()
        await old.execute(sql.INSERT_ONE, *row_of(event(2)))
        await highway.write(event(3), event(4, module="other"))
        before = await highway.committed()
        for _ in range(5):
            await highway.drain(relay, held=True)
        assert await highway.announced() == {"cc": before["cc"][:1]}
        await (transaction.commit() if ending == "commit" else transaction.rollback())
        await old.close()
        await highway.drain(relay)
        assert await highway.announced() == await highway.committed()
        assert len((await highway.announced())["cc"]) == (3 if ending == "commit" else 2)

    async def test_behind_an_open_transaction_the_relay_looks_again_soon_and_then_less_often(
        self, highway
    ) -> None:
        """The first wait is milliseconds, the last one the poll interval; with nothing waiting it is that at once."""
        relay = highway.relay(poll_seconds=0.25)
        await highway.drain(relay)
        assert await relay.turn() == 0.25
        old = await asyncpg.connect(highway.url)
        async with old.transaction():
            await old.execute(sql.INSERT_ONE, *row_of(event()))
            await highway.write(event())
            waits = [await relay.turn() for _ in range(10)]
        await old.close()
        assert waits == sorted(waits)
        assert 0 < waits[0] < 0.01
        assert waits[-1] == 0.25

    async def test_the_live_channel_gets_each_event_of_its_module(self, core: Core, highway, whole) -> None:
        async with highway.redis.pubsub(ignore_subscribe_messages=True) as listening:
            await listening.subscribe("mem0.recorded.a")
            await listening.get_message(timeout=5)
            events = [event(n, module="ab"[n % 2]) for n in range(20)]
            await core.recorder.record_many(events)
            heard: list[bytes] = []
            async with asyncio.timeout(DEADLINE_SECONDS):
                while len(heard) < 10:
                    message = await listening.get_message(timeout=5)
                    if message is not None:
                        heard.append(message["data"])
            await whole(highway)
            assert await listening.get_message(timeout=0) is None
        assert [messages.decode(one).id for one in heard] == [one.id for one in events[::2]]
        entries = await highway.redis.xrange("mem0.stream.a.1")
        assert [fields[b"event"] for _, fields in entries] == heard

    @pytest.mark.parametrize(
        "raw",
        [
            b'"\\\\u0000"',
            b' {"b": 1,\t"a": 12345678901234567890123}\n',
            '["\u2028 é \U0001f600", "\\u00e9\\/"]'.encode(),
            b"null",
        ],
    )
    async def test_data_is_announced_to_the_byte(self, highway, raw) -> None:
        await highway.write(event(raw_data=raw, subject="\U0001f600 \\ \x1f"))
        await highway.drain(highway.relay())
        [(_, fields)] = await highway.redis.xrange("mem0.stream.cc.1")
        found = messages.decode(fields[b"event"])
        assert raw in fields[b"event"]
        assert (bytes(found.data), found.subject) == (raw.strip(), "\U0001f600 \\ \x1f")
        assert json.loads(fields[b"event"])["data"] == json.loads(raw)

    async def test_an_event_is_the_same_in_the_stream_and_over_the_log(
        self, core: Core, highway, whole
    ) -> None:
        """Postgres writes the one, Python the other."""
        odd = '\u2028 "quoted" \\ \x1f \U0001f600 \t'
        times = [
            datetime(1, 1, 1, 0, 0, 0, 1, tzinfo=UTC),
            datetime(9999, 12, 31, 23, 59, 59, 999998, tzinfo=UTC),
        ]
        times += [datetime(2026, 1, 2, 3, 4, 5, micro, tzinfo=UTC) for micro in (0, 120_000, 1)]
        texts = ("subject", "request_id", "trace_id", "traceparent", "idempotency_key")
        events = [event(0, time=one) for one in times]
        events += [
            event(1, **{name: f"{odd}{name}" for name in texts}),
            event(2, level="warning", type="a:b/c.d-e"),
        ]
        await core.recorder.record_many(events)
        await whole(highway)
        async with core.sessions() as session:
            [*expected] = (await page(session, Query())).events
        entries = await highway.redis.xrange("mem0.stream.cc.1")
        assert [messages.decode(fields[b"event"]) for _, fields in entries] == expected


class TestRedisLoses:
    async def test_everything_while_nothing_is_written(self, core: Core, highway, whole) -> None:
        await core.recorder.record_many([event(n, module=f"m{n % 3}") for n in range(30)])
        await whole(highway)
        await highway.redis.flushall()
        await whole(highway)
        assert await highway.streams.generation() == 1

    async def test_everything_while_much_is_written(self, core: Core, highway, whole) -> None:
        async def write(name: str) -> None:
            for n in range(40):
                await core.recorder.record(event(n, module=name))

        async with asyncio.timeout(DEADLINE_SECONDS):
            async with asyncio.TaskGroup() as group:
                writers = [group.create_task(write(f"m{n}")) for n in range(4)]
                while not all(writer.done() for writer in writers):
                    await highway.redis.flushall()
                    await core.recorder.record(event(module="between"))
        await whole(highway)
        assert await highway.streams.generation() == 1

    async def test_one_stream(self, highway) -> None:
        """It is filled again from its beginning; what came meanwhile stands in order; the others are not touched."""
        relay = highway.relay()
        await highway.write(*(event(n, module=f"m{n % 3}") for n in range(30)))
        await highway.drain(relay)
        await highway.redis.delete("mem0.stream.m1.1")
        await highway.write(*(event(n, module=f"m{n % 3}") for n in range(9)))
        await highway.drain(relay)
        assert await highway.announced() == await highway.committed()

    async def test_one_stream_while_a_small_batch_must_pass_the_others(self, highway) -> None:
        """The refill reads again what the other streams hold, in many batches, and adds none of it twice."""
        relay = highway.relay(batch=7)
        await highway.write(*(event(n, module=f"m{n % 5}") for n in range(100)))
        await highway.drain(relay)
        await highway.redis.delete("mem0.stream.m0.1", "mem0.stream.m4.1")
        await highway.write(event(module="m2"), event(module="new"))
        await highway.drain(relay)
        assert await highway.announced() == await highway.committed()
        assert highway.failures == []

    async def test_one_stream_is_noticed_by_the_next_event_for_it(self, highway, monkeypatch) -> None:
        """Redis refuses what does not follow its end; the relay does not wait for its own next look."""
        monkeypatch.setattr(l15_highway, "VERIFY_SECONDS", 1e9)
        relay = highway.relay()
        await highway.write(event(1), event(2))
        await highway.drain(relay)
        await highway.redis.delete("mem0.stream.cc.1")
        await highway.write(event(3))
        async with asyncio.timeout(DEADLINE_SECONDS):
            while not await highway.is_whole():
                await relay.turn()
        assert relay.moved == 5

    async def test_the_note_of_whose_streams_they_are(self, highway) -> None:
        relay = highway.relay()
        await highway.write(event())
        await highway.drain(relay)
        await highway.redis.delete("mem0.highway")
        await relay.close()
        await highway.write(event())
        await highway.drain(relay)
        assert await highway.streams.generation() == 1
        assert await highway.announced() == await highway.committed()

    @pytest.mark.parametrize("keep", [0.0, 0.3, 0.7, 0.99])
    async def test_the_end_of_its_file(self, own: Servers, own_highway: Highway, keep: float) -> None:
        """Stopped, cut anywhere, started: what is missing is added, nothing comes twice."""
        file = own.folder.redis / AOF_NAME
        old = file.stat().st_size
        relay = own_highway.relay(batch=20)
        await own_highway.write(*(event(n, module=f"m{n % 3}") for n in range(150)))
        await own_highway.drain(relay)
        await own.redis.stop()
        os.truncate(file, old + int((file.stat().st_size - old) * keep))
        await own.redis.start()
        cut = await own_highway.announced(1)
        assert sum(map(len, cut.values())) < 150
        await own_highway.write(event(module="m1"))
        await own_highway.drain(relay)
        assert await own_highway.streams.generation() == 1
        assert await own_highway.announced() == await own_highway.committed()

    async def test_its_process_under_load(
        self, own: Servers, own_highway, whole, tmp_path, eventually
    ) -> None:
        """Killed three times with -9; every event that was recorded meanwhile is announced once."""
        settings = load_settings(data_dir=tmp_path)
        recorded: list[str] = []
        ends = asyncio.Event()

        async def write(core: Core, name: str) -> None:
            while not ends.is_set():
                recorded.append(str((await core.recorder.record(event(module=name))).id))

        async with Core(settings=settings, database_url=own.postgres.url, redis_url=own.redis.url) as core:
            writers = [asyncio.create_task(write(core, f"m{n}")) for n in range(4)]
            for kill in range(3):
                moved = core.relay.moved

                async def moves(moved: int = moved) -> bool:
                    return core.relay.moved > moved + 20

                await eventually(moves)
                dead, restarts = own.redis.pid, own.redis.restarts
                assert dead is not None, kill
                os.kill(dead, signal.SIGKILL)

                async def back(restarts: int = restarts) -> bool:
                    return own.redis.restarts > restarts and own.redis.state == "running"

                await eventually(back)
            ends.set()
            async with asyncio.timeout(DEADLINE_SECONDS):
                await asyncio.gather(*writers)
            await whole(own_highway)
        found = [record for entries in (await own_highway.announced()).values() for _, record in entries]
        assert sorted(found) == sorted(recorded)


class TestRelays:
    async def test_two_at_once_are_harmless(self, core: Core, highway, whole) -> None:
        """Both work on the same streams, as if the lock had failed: each event is added once, by one of them."""
        second = highway.relay(shard=1, batch=10)
        looper = Looper(name="second relay", part=second)
        looper.start()
        try:
            async with asyncio.timeout(DEADLINE_SECONDS):
                for n in range(60):
                    await core.recorder.record_many([event(n, module=f"m{k % 3}") for k in range(5)])
                    looper.ring()
            await whole(highway)
        finally:
            await looper.stop()
        assert core.relay.moved + second.moved == 300
        assert await highway.streams.generation() == 1

    async def test_of_one_shard_only_one_works_and_the_next_takes_over(self, highway) -> None:
        first, second = highway.relay(), highway.relay()
        await highway.drain(first)
        await highway.write(event())
        assert await second.turn() > 0
        assert (first.state, second.state, second.moved) == ("running", "standby", 0)
        await first.close()
        await highway.drain(second)
        assert (first.state, second.state, second.moved) == ("detached", "running", 1)

    async def test_killed_at_any_moment_the_next_one_goes_on(self, highway) -> None:
        """Each relay is cancelled somewhere between its first connection and its last batch."""
        await highway.write(*(event(n, module=f"m{n % 4}") for n in range(200)))
        dice = random.Random(11)  # noqa: S311  (repeatable, not a secret)
        loop = asyncio.get_running_loop()

        async def run(relay: Relay) -> None:
            while await relay.turn() == 0:
                pass

        began = loop.time()
        await run(highway.relay(batch=5))
        whole_run_seconds = loop.time() - began
        await highway.relays[0].close()
        moved = [highway.relays[0].moved]
        for _ in range(30):
            await highway.write(*(event(n, module=f"m{n % 4}") for n in range(20)))
            relay = highway.relay(batch=5)
            task = asyncio.create_task(run(relay))
            await asyncio.wait([task], timeout=dice.uniform(0, whole_run_seconds))
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await relay.close()
            moved.append(relay.moved)
        await highway.drain(highway.relay())
        assert await highway.announced() == await highway.committed()
        assert await highway.streams.generation() == 1
        assert len({*moved}) > 2

    async def test_a_module_that_begins_while_a_relay_attaches_is_not_passed_over(
        self, highway, monkeypatch
    ) -> None:
        """Another relay has announced a later record of another module, but could not add this module's first."""
        await highway.write(event(1, module="a"))
        await highway.drain(highway.relay(shard=1))
        tops = highway.streams.tops

        async def tops_after_the_others(modules, generation) -> dict[str, Position]:
            monkeypatch.setattr(highway.streams, "tops", tops)
            await highway.write(event(2, module="b"), event(3, module="a"))
            rows = await (await highway.log()).fetch(sql.READ_SETTLED, *START, 1000, MAX_BATCH_BYTES)
            first, _, last = [(Position(row["xact"], row["seq"]), row) for row in rows]
            await highway.streams.add([("a", first[0], [(last[0], last[1]["envelope"])])], generation)
            return await tops(modules, generation)

        monkeypatch.setattr(highway.streams, "tops", tops_after_the_others)
        relay = highway.relay()
        await highway.drain(relay)
        await highway.write(event(4, module="b"))
        await highway.drain(relay)
        assert await highway.announced() == await highway.committed()

    async def test_one_that_attaches_behind_an_open_transaction_does_not_begin_after_it(
        self, highway
    ) -> None:
        """What is committed and not settled says nothing about where to begin: an older one may still commit."""
        await highway.write(event(1))
        old = await asyncpg.connect(highway.url)
        transaction = old.transaction()
        await transaction.start()
        await old.execute(sql.INSERT_ONE, *row_of(event(2)))
        await highway.write(event(3, module="other"))
        relay = highway.relay()
        await highway.drain(relay, held=True)
        await transaction.commit()
        await old.close()
        await highway.drain(relay)
        assert await highway.announced() == await highway.committed()

    async def test_what_settles_while_one_attaches_is_not_passed_over(self, highway, monkeypatch) -> None:
        """Of the first module nothing is settled when it is asked; then one older than the other's commits."""
        await highway.write(event(1, module="a"), event(2, module="b"))
        await highway.drain(highway.relay(shard=1))
        old = await asyncpg.connect(highway.url)
        transaction = old.transaction()
        await transaction.start()
        await old.execute(sql.INSERT_ONE, *row_of(event(3, module="a")))
        await highway.write(event(4, module="b"))
        lacking = asyncpg.Connection.fetchrow
        asked = []

        async def ask(self: Any, query: str, *arguments: Any, **more: Any) -> Any:
            found = await lacking(self, query, *arguments, **more)
            if query == sql.FIRST_SETTLED_AFTER:
                asked.append(arguments[0])
                if len(asked) == 1:
                    await transaction.commit()
            return found

        monkeypatch.setattr(asyncpg.Connection, "fetchrow", ask)
        relay = highway.relay()
        await highway.drain(relay)
        await old.close()
        assert asked[:2] == ["a", "b"]
        assert await highway.announced() == await highway.committed()

    async def test_a_relay_whose_postgres_connection_is_ended_goes_on(self, highway) -> None:
        relay = highway.relay()
        await highway.write(event())
        await highway.drain(relay)
        log = await highway.log()
        await log.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = 'cos relay'"
        )
        await highway.write(event())
        await highway.drain(relay)
        assert await highway.announced() == await highway.committed()

    async def test_without_redis_a_turn_says_so(self, highway, tmp_path) -> None:
        url = f"unix://{tmp_path}/none"
        async with create_redis(url) as nobody:
            relay = highway.relay(
                redis=nobody, redis_url=url, streams=Streams(redis=nobody, namespace="mem0")
            )
            with pytest.raises(RedisUnreachable, match="does not answer"):
                await relay.turn()
        assert relay.state == "detached"


class TestGenerations:
    @pytest.mark.parametrize("afterwards", [4, 12])
    async def test_a_postgres_that_is_set_back_begins_a_new_one(
        self, own: Servers, own_highway: Highway, tmp_path: Path, afterwards: int
    ) -> None:
        """Positions come again with other records, fewer or more: the old streams stay as they were."""
        relay = own_highway.relay()
        await own_highway.write(*(event(n) for n in range(10)))
        await own_highway.drain(relay)
        await own.postgres.stop()
        shutil.copytree(own.folder.postgres, tmp_path / "copy")
        await own.postgres.start()
        await own_highway.write(*(event(n) for n in range(10)), event(module="later"))
        await own_highway.drain(relay)
        old = await own_highway.announced(1)
        assert list(map(len, old.values())) == [20, 1] or list(map(len, old.values())) == [1, 20]

        await own.postgres.stop()
        shutil.rmtree(own.folder.postgres)
        shutil.copytree(tmp_path / "copy", own.folder.postgres)
        await own.postgres.start()
        await own_highway.write(*(event(n, data={"again": n}) for n in range(afterwards)))
        await own_highway.drain(relay)

        assert await own_highway.streams.generation() == 2
        committed = await own_highway.committed()
        assert await own_highway.announced(2) == committed
        assert len(committed["cc"]) == 10 + afterwards
        assert await own_highway.announced(1) == old
        log = await own_highway.log()
        assert "Postgres does not have" in await log.fetchval(
            "SELECT reason FROM l1.generation WHERE number = 2"
        )

    async def test_another_database_begins_a_new_one(self, own: Servers, own_highway: Highway) -> None:
        """Redis holds the streams of one database and is now asked to serve another of the same cluster."""
        await own_highway.write(*(event(n) for n in range(5)))
        relay = own_highway.relay()
        await own_highway.drain(relay)
        old = await own_highway.announced(1)
        await relay.close()
        log = await own_highway.log()
        await log.execute("CREATE DATABASE other")
        url = own.postgres.url.replace("/cos?", "/other?")
        try:
            await migrate(url)
            own_highway.url = url
            await log.close()
            await own_highway.write(*(event(n) for n in range(3)))
            other = own_highway.relay()
            await own_highway.drain(other)
            assert await own_highway.streams.generation() == 2
            assert await own_highway.announced(2) == await own_highway.committed()
            assert await own_highway.announced(1) == old
            await other.close()
            await (await own_highway.log()).close()
        finally:
            own_highway.url = own.postgres.url
            await (await own_highway.log()).execute("DROP DATABASE other WITH (FORCE)")

    @pytest.mark.parametrize(
        ("number", "database", "reason"),
        [(1, "another/1", "another database's streams"), (2, None, "set back before the last")],
    )
    async def test_streams_that_a_copy_of_the_database_has_filled_are_not_taken_for_ours(
        self, highway, number, database, reason
    ) -> None:
        """It began its own generation meanwhile, or it is another database with the same number."""
        relay = highway.relay()
        await highway.write(event())
        await highway.drain(relay)
        log = await highway.log()
        database = database or await log.fetchval("SELECT database FROM l1.generation")
        await highway.redis.hset("mem0.highway", mapping={"generation": number, "database": database})
        await highway.drain(relay)
        assert await highway.streams.generation() == number + 1
        assert reason in await log.fetchval("SELECT reason FROM l1.generation ORDER BY number DESC")
        assert await highway.announced() == await highway.committed()

    async def test_an_empty_redis_keeps_it(self, own: Servers, own_highway: Highway) -> None:
        relay = own_highway.relay()
        await own_highway.write(*(event(n) for n in range(20)))
        await own_highway.drain(relay)
        await own.redis.stop()
        (own.folder.redis / AOF_NAME).unlink()
        await own.redis.start()
        assert await own_highway.streams.generation() is None
        await own_highway.drain(relay)
        assert await own_highway.streams.generation() == 1
        assert await own_highway.announced() == await own_highway.committed()

    async def test_two_relays_with_the_same_reason_begin_one(self, highway) -> None:
        """The second is given what the first began, whoever comes to the lock first."""
        first, second = await highway.log(), await asyncpg.connect(highway.url)

        async def both(seen: Generation | None) -> list[Generation]:
            return await asyncio.gather(
                *(
                    begin(one, highway.redis, "mem0.highway", reason="both", seen=seen)
                    for one in (first, second)
                )
            )

        one, same = await both(seen=None)
        assert one == same
        assert one.number == 1
        one, same = await both(seen=one)
        assert one == same
        assert one.number == 2
        await second.close()

    async def test_rows_from_the_future_stop_the_relay_and_are_named(self, highway) -> None:
        """A dump in a younger cluster: positions would go down one day, so nothing is announced."""
        await highway.write(event())
        log = await highway.log()
        await log.execute("UPDATE l1.record SET xact = '999999999999'")
        relay = highway.relay()
        with pytest.raises(CosError, match="restored into a younger cluster"):
            await relay.turn()
        assert await highway.redis.keys("mem0.stream.*") == []


class TestVolume:
    async def test_five_thousand_events_of_many_modules(self, highway) -> None:
        dice = random.Random(5)  # noqa: S311  (repeatable, not a secret)
        log = await highway.log()
        for start in range(0, 5000, 250):
            events = [event(n, module=f"m{dice.randint(0, 59)}") for n in range(start, start + 250)]
            await log.fetch(sql.INSERT_MANY, *rows_of(events))
        relay = highway.relay()
        await highway.drain(relay)
        assert relay.moved == 5000
        assert await highway.announced() == await highway.committed()

    async def test_large_events_are_moved_a_few_at_a_time(self, highway, monkeypatch) -> None:
        """Also where Postgres stores them compressed: what counts is the memory that a batch takes here."""
        noise = random.Random(1).randbytes(250_000).hex()  # noqa: S311  (what does not compress)
        events = [event(data="ab" * 500_000 if n % 2 else noise) for n in range(12)]
        events += [event(data="ab" * 10_000) for n in range(150)]
        log = await highway.log()
        await log.fetch(sql.INSERT_MANY, *rows_of(events))
        sizes: list[int] = []
        add = highway.streams.add

        async def noted(batches, generation):
            sizes.append(sum(len(entry) for _, _, entries in batches for _, entry in entries))
            return await add(batches, generation)

        monkeypatch.setattr(highway.streams, "add", noted)
        await highway.drain(highway.relay())
        assert await highway.announced() == await highway.committed()
        assert max(sizes) < 2.1 * MAX_BATCH_BYTES
        assert sum(sizes) > 12 * 500_000


class TestGauge:
    def gauge(self, highway: Highway, **other: Any) -> Gauge:
        redis = other.get("redis", highway.redis)
        made = Gauge(
            url=other.get("url", highway.url),
            redis=redis,
            streams=Streams(redis=redis, namespace="mem0"),
            redis_url=other.get("redis_url", highway.redis_url),
        )
        highway.relays.append(made)  # closed with them
        return made

    async def test_the_log_is_counted_as_it_grows(self, highway) -> None:
        """Settled records are counted once; what an open transaction holds back is counted each time."""
        gauge = self.gauge(highway)
        await highway.write(*(event(n) for n in range(7)))
        assert (await gauge.measure()).records == 7
        log = await highway.log()
        other = await asyncpg.connect(highway.url)
        async with other.transaction():
            await other.fetchval("SELECT pg_current_xact_id()")
            await highway.write(event(8), event(9))
            assert [(await gauge.measure()).records for _ in range(3)] == [9, 9, 9]
        assert (await gauge.measure()).records == 9
        await log.execute("DELETE FROM l1.record")  # as a database that was set back
        assert (await gauge.measure()).records == 0
        await other.close()

    async def test_what_holds_the_relay_back_is_named(self, highway, monkeypatch) -> None:
        monkeypatch.setattr("cos.memory.vitals.HELD_SECONDS", 0.0)
        other = await asyncpg.connect(highway.url, server_settings={"application_name": "a-report"})
        async with other.transaction():
            pid = await other.fetchval("SELECT pg_backend_pid() FROM pg_current_xact_id()")
            holder = (await self.gauge(highway).measure()).holder
        assert holder is not None
        assert (holder.pid, holder.name, holder.state) == (pid, "a-report", "idle in transaction")
        await other.close()

    async def test_an_empty_log_lags_by_nothing(self, highway) -> None:
        found = await self.gauge(highway).measure()
        assert (found.records, found.lag_events, found.lag_seconds, found.streams) == (0, 0, 0.0, {})
        assert (found.postgres_answers, found.redis_answers, found.causes) == (True, True, [])

    async def test_lag_is_what_the_streams_lack(self, highway) -> None:
        relay = highway.relay()
        await highway.write(*(event(n, module="a") for n in range(4)))
        await highway.drain(relay)
        await highway.write(*(event(n, module="ab"[n % 2]) for n in range(6)))
        gauge = self.gauge(highway)
        behind, later = await gauge.measure(), await gauge.measure()
        assert (behind.records, behind.lag_events) == (10, 6)
        assert 0 < behind.lag_seconds < later.lag_seconds
        assert (behind.streams["a"].length, behind.streams["b"].length) == (4, 0)
        await highway.drain(relay)
        caught_up = await gauge.measure()
        assert (caught_up.records, caught_up.lag_events, caught_up.lag_seconds) == (10, 0, 0.0)
        committed = await highway.committed()
        for module, length in (("a", 7), ("b", 3)):
            stream = caught_up.streams[module]
            assert (stream.key, stream.generation, stream.length) == (f"mem0.stream.{module}.1", 1, length)
            assert stream.last_position == committed[module][-1][0]

    async def test_the_lag_behind_an_open_transaction_is_seen(self, highway) -> None:
        """Committed and held back is lag; written and not committed is none."""
        relay = highway.relay()
        old = await asyncpg.connect(highway.url)
        async with old.transaction():
            await old.execute(sql.INSERT_ONE, *row_of(event()))
            await highway.write(event(), event())
            await highway.drain(relay, held=True)
            found = await self.gauge(highway).measure()
        await old.close()
        assert (found.records, found.lag_events) == (2, 2)

    async def test_without_redis(self, highway, tmp_path) -> None:
        """What Postgres knows is measured; what needs Redis is absent, and the cause is named."""
        await highway.write(event())
        url = f"unix://{tmp_path}/none"
        async with create_redis(url) as nobody:
            found = await self.gauge(highway, redis=nobody, redis_url=url).measure()
        assert (found.records, found.lag_events, found.lag_seconds, found.streams) == (1, None, None, {})
        assert (found.postgres_answers, found.redis_answers) == (True, False)
        assert [cause.startswith("Redis at its socket does not answer") for cause in found.causes] == [True]

    async def test_without_postgres(self, highway, tmp_path) -> None:
        found = await self.gauge(highway, url=f"postgresql://cos@/cos?host={tmp_path}").measure()
        assert (found.records, found.lag_events, found.lag_seconds, found.streams) == (None, None, None, {})
        assert (found.postgres_answers, found.redis_answers) == (False, True)
        assert [
            cause.startswith("Postgres at the local socket/cos cannot be reached") for cause in found.causes
        ] == [True]
