"""Subscribers under faults: nothing is lost when a consumer dies, Redis forgets, or a stream is cut short."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any

import asyncpg
import msgspec
import pytest

from cos.memory.delivery import Event
from cos.memory.event import NewEvent, new_event
from cos.memory.generation import begin, in_postgres
from cos.memory.highway import Highway
from cos.runtime.consumers import Consumers
from cos.runtime.core import Core

QUICK: dict[str, Any] = {"first_retry_seconds": 0.01, "last_retry_seconds": 0.05, "claim_seconds": 0.6}


class Step(msgspec.Struct):
    n: int


def event(n: int = 0, **more: Any) -> NewEvent:
    return new_event(**{"type": "step", "module": "cc", "data": {"n": n}} | more)


class Process:
    """A process of a group, as far as the group can tell: it can be stopped, and it can be killed."""

    def __init__(self, core: Core, **more: Any) -> None:
        self.ended = False
        self.seen: list[int] = []
        self.attempts: list[tuple[int, int]] = []
        self.act: Callable[[int], Any] = lambda n: None
        highway = Highway()
        highway.subscriber(**{"group": "g", **QUICK, **more})(self.handle)
        self.consumers = Consumers(
            highways=[highway], database_url=core.database_url, redis_url=core.redis_url
        )
        self.subscriber = self.consumers.subscribers["g"]

    async def handle(self, one: Event[Step]) -> None:
        self.attempts.append((one.data.n, one.attempt))
        found = self.act(one.data.n)
        if asyncio.iscoroutine(found):
            await found
        self.seen.append(one.data.n)

    async def stop(self) -> None:
        if not self.ended:
            self.ended = True
            await self.consumers.__aexit__(None, None, None)

    async def kill(self) -> None:
        """End as a process does that is killed: nothing is finished, acknowledged or given back."""
        self.ended = True
        for looper in self.consumers._loopers:
            await looper.stop()
        self.subscriber.retire()
        tasks = list(self.subscriber.work._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        subscriber = self.subscriber
        await subscriber._stop_waiting()
        for wire in (subscriber._wire, subscriber._waiting_wire, subscriber._keeping_wire):
            await wire.close()
        await self.consumers.bodies.close()
        await self.consumers._pool.close()
        await self.consumers._redis.aclose()


@pytest.fixture
async def process(core: Core) -> Any:
    """Start a process of the group; whatever still runs at the end is stopped."""
    async with AsyncExitStack() as stack:

        async def start(*, act: Callable[[int], Any] = lambda n: None, **more: Any) -> Process:
            made = Process(core, **more)
            made.act = act
            await made.consumers.__aenter__()
            stack.push_async_callback(made.stop)
            return made

        yield start


class Alone:
    """A handler's act that shows how many are at it at once; the first call never ends by itself."""

    def __init__(self) -> None:
        self.at_work = self.most = 0
        self.holds = True
        self.order: list[int] = []

    async def act(self, n: int) -> None:
        self.at_work += 1
        self.most = max(self.most, self.at_work)
        try:
            await (asyncio.Event().wait() if self.holds else asyncio.sleep(0))
            self.order.append(n)
        finally:
            self.at_work -= 1


@pytest.fixture
def alone() -> Alone:
    """One act for all processes of a test."""
    return Alone()


@pytest.fixture
def until(eventually) -> Callable[..., Any]:
    """Wait until a plain condition holds."""

    async def wait(condition: Callable[[], Any]) -> None:
        async def check() -> Any:
            return condition()

        await eventually(check)

    return wait


async def key_of(core: Core, module: str = "cc") -> str:
    number = await core.streams.generation()
    return core.streams.key(module, number)


class TestDying:
    async def test_what_a_killed_process_held_is_handled_by_another(self, core: Core, process, until) -> None:
        first = await process(act=lambda n: asyncio.Event().wait() if n == 3 else None)
        await core.recorder.record_many([event(n) for n in range(10)])
        await until(lambda: (3, 1) in first.attempts)
        await first.kill()
        second = await process()
        await until(lambda: set(first.seen + second.seen) >= set(range(10)))
        assert (3, 2) in second.attempts

    async def test_one_that_kills_its_process_becomes_a_dead_letter_and_nothing_else_does(
        self, core: Core, process, until, pg: asyncpg.Connection
    ) -> None:
        """Each process dies of the same message; those that it held beside it are not held responsible."""
        await core.recorder.record_many([event(n) for n in range(6)])
        seen: list[int] = []
        for _ in range(3):
            dying = await process(
                attempts=3,
                concurrency=3,
                act=lambda n: asyncio.Event().wait() if n == 2 else asyncio.sleep(0),
            )
            await until(lambda one=dying: 2 in [n for n, _ in one.attempts])
            await dying.kill()
            seen += dying.seen
        last = await process(attempts=3, act=lambda n: asyncio.Event().wait() if n == 2 else None)
        await until(lambda: last.subscriber.work.buried == 1)
        await until(lambda: set(seen + last.seen) == {0, 1, 3, 4, 5})
        [letter] = await pg.fetch("SELECT * FROM highway.dead_letter")
        assert (msgspec.json.decode(letter["event"])["data"], letter["attempts"]) == ({"n": 2}, 3)
        assert "fell silent 3 times" in letter["error"]

    async def test_a_living_one_keeps_what_takes_long(self, core: Core, process, until) -> None:
        """A call may take longer than others wait for a dead one: who works says so."""
        end = asyncio.Event()
        slow = await process(act=lambda n: end.wait())
        await core.recorder.record(event(1))
        await until(lambda: slow.attempts == [(1, 1)])
        other = await process()
        looks = other.subscriber._kept_at
        for _ in range(4):
            await until(lambda before=looks: other.subscriber._kept_at > before)
            looks = other.subscriber._kept_at
        end.set()
        await until(lambda: slow.seen == [1])
        assert other.attempts == []

    async def test_an_ordered_group_goes_on_in_order(self, core: Core, process, until) -> None:
        first = await process(ordered=True, act=lambda n: asyncio.Event().wait() if n == 4 else None)
        await core.recorder.record_many([event(n, subject="s") for n in range(10)])
        await until(lambda: first.seen == [0, 1, 2, 3])
        second = await process(ordered=True)
        await core.recorder.record_many([event(n, subject="s") for n in range(10, 15)])
        await first.kill()
        await until(lambda: second.seen[-1:] == [14])
        assert second.seen[-11:] == list(range(4, 15))


class TestForgetting:
    async def test_an_emptied_redis_goes_on_where_the_group_was(
        self, core: Core, process, until, stream_of
    ) -> None:
        one = await process()
        await core.recorder.record_many([event(n) for n in range(20)])
        await until(lambda: len(one.seen) == 20)
        await until(lambda: one.subscriber.keeper._kept)
        await core.redis.flushall()
        await core.recorder.record_many([event(n) for n in range(20, 30)])
        await until(lambda: set(one.seen) == set(range(30)))

    async def test_emptied_again_and_again_while_much_is_written(self, core: Core, process, until) -> None:
        one = await process(concurrency=3, act=lambda n: asyncio.sleep(0))
        two = await process(act=lambda n: asyncio.sleep(0))
        for round_ in range(5):
            await core.recorder.record_many([event(round_ * 50 + n, module=f"m{n % 2}") for n in range(50)])
            await core.redis.flushall()
        await until(lambda: set(one.seen + two.seen) == set(range(250)))

    async def test_an_ordered_group_asks_again_for_its_streams_at_once(
        self, core: Core, process, until
    ) -> None:
        """It does not wait for the time at which it would have shown that it still lives."""
        one = await process(ordered=True, claim_seconds=1000.0)
        await core.recorder.record_many([event(n, subject="s") for n in range(5)])
        await until(lambda: len(one.seen) == 5)
        await core.redis.flushall()
        await core.recorder.record_many([event(n, subject="s") for n in range(5, 10)])
        await until(lambda: one.seen[-1:] == [9])

    async def test_no_two_processes_are_at_an_ordered_group_at_once(
        self, core: Core, process, until, alone: Alone
    ) -> None:
        """Who had the stream loses it, and with it the call under way; it begins again before anybody else may."""
        one = await process(ordered=True, act=alone.act)
        await core.recorder.record_many([event(n, subject="s") for n in range(10)])
        await until(lambda: alone.at_work == 1)
        two = await process(ordered=True, act=alone.act)
        alone.holds = False
        await core.redis.flushall()
        await until(lambda: 9 in one.seen + two.seen)
        assert (alone.most, alone.order[-10:]) == (1, list(range(10)))

    async def test_who_cannot_say_that_it_lives_stops_before_another_begins(
        self, core: Core, process, until, alone: Alone
    ) -> None:
        """It has no turn in which it could hear that another has its stream: only its clock tells it."""
        one = await process(ordered=True, act=alone.act)
        await core.recorder.record_many([event(n, subject="s") for n in range(10)])
        await until(lambda: alone.at_work == 1)
        for looper in one.consumers._loopers:
            await looper.stop()
        alone.holds = False
        two = await process(ordered=True, act=alone.act)
        await until(lambda: two.seen == list(range(10)))
        assert (alone.most, one.seen) == (1, [])

    async def test_a_first_start_and_one_after_a_stop_wait_for_no_lease(
        self, core: Core, process, until
    ) -> None:
        one, two = [await process(ordered=True, claim_seconds=1000.0) for _ in range(2)]
        await core.recorder.record_many([event(n, subject="s") for n in range(5)])
        await until(lambda: sorted(one.seen + two.seen) == list(range(5)))
        await one.stop()
        await two.stop()
        last = await process(ordered=True, claim_seconds=1000.0)
        await core.recorder.record_many([event(n, subject="s") for n in range(5, 10)])
        await until(lambda: last.seen == list(range(5, 10)))

    async def test_entries_trimmed_before_they_were_read_come_from_the_log(
        self, core: Core, process, until, eventually, stream_of
    ) -> None:
        """The stream was cut while nobody listened, in its middle as far as the group is concerned."""
        one = await process()
        await core.recorder.record_many([event(n) for n in range(5)])
        await until(lambda: len(one.seen) == 5)
        await one.stop()
        await core.recorder.record_many([event(n, module="cc" if n % 2 else "other") for n in range(5, 3000)])

        async def announced() -> bool:
            return len(await stream_of("cc")) + len(await stream_of("other")) == 3000

        await eventually(announced)
        await core.redis.xtrim(await key_of(core), maxlen=10, approximate=False)
        await core.redis.xtrim(await key_of(core, "other"), maxlen=0, approximate=False)
        two = await process()
        await until(lambda: set(two.seen) == set(range(5, 3000)))
        await core.recorder.record(event(3000))
        await until(lambda: 3000 in two.seen)
        assert sorted(two.seen) == list(range(5, 3001))

    async def test_order_holds_over_what_was_trimmed(
        self, core: Core, process, until, eventually, stream_of
    ) -> None:
        await core.recorder.record_many([event(n, subject="s") for n in range(1500)])

        async def announced() -> bool:
            return len(await stream_of("cc")) == 1500

        await eventually(announced)
        await core.redis.xtrim(await key_of(core), maxlen=10, approximate=False)
        one = await process(ordered=True)
        await core.recorder.record_many([event(n, subject="s") for n in range(1500, 1600)])
        await until(lambda: len(one.seen) >= 1600)
        assert one.seen == list(range(1600))

    async def test_pending_entries_that_were_trimmed_are_handled_from_the_log(
        self, core: Core, process, until
    ) -> None:
        first = await process(act=lambda n: asyncio.Event().wait())
        await core.recorder.record_many([event(n) for n in range(5)])
        await until(lambda: first.attempts)
        await first.kill()
        await core.redis.xtrim(await key_of(core), maxlen=0, approximate=False)
        second = await process()
        await until(lambda: sorted(second.seen) == list(range(5)))


class TestGenerations:
    async def test_a_new_one_is_read_from_its_beginning(
        self, core: Core, process, until, pg: asyncpg.Connection
    ) -> None:
        one = await process()
        await core.recorder.record_many([event(n) for n in range(5)])
        await until(lambda: len(one.seen) == 5)
        await begin(pg, core.redis, core.streams.meta, reason="a test", seen=await in_postgres(pg))
        await core.recorder.record(event(5))
        await until(lambda: all(one.seen.count(n) == 2 for n in range(5)) and 5 in one.seen)


class TestAway:
    async def test_redis_killed_again_and_again(
        self, core: Core, process, until, servers, eventually
    ) -> None:
        one = await process(act=lambda n: asyncio.sleep(0))
        two = await process(concurrency=4, act=lambda n: asyncio.sleep(0))
        for round_ in range(3):
            await core.recorder.record_many([event(round_ * 100 + n) for n in range(100)])
            pid = servers.redis.pid
            os.kill(pid, signal.SIGKILL)
            await until(lambda dead=pid: servers.redis.pid not in (None, dead))
        await until(lambda: set(one.seen + two.seen) == set(range(300)))

    async def test_letters_wait_for_postgres(self, core: Core, process, until, pg, eventually) -> None:
        """While the table cannot be written, what failed is kept; nothing is acknowledged that is nowhere."""
        await pg.execute("ALTER TABLE highway.dead_letter RENAME TO away")
        try:
            one = await process(attempts=1, act=lambda n: 1 / 0)
            await core.recorder.record(event(1))
            await until(lambda: isinstance(one.subscriber.work.last_error, Exception) and one.attempts)
            assert one.subscriber.work.buried == 0
        finally:
            await pg.execute("ALTER TABLE highway.away RENAME TO dead_letter")
        await until(lambda: one.subscriber.work.buried == 1)
        assert one.attempts == [(1, 1)]
        assert await pg.fetchval("SELECT count(*) FROM highway.dead_letter") == 1
