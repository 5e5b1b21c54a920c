"""Retention: streams stay short, the log keeps all, and no group loses what it has not finished."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from cos.common import clock
from cos.common.pool import Pool
from cos.memory.delivery import Event
from cos.memory.event import new_event
from cos.memory.highway import Highway
from cos.memory.retention import Limits, Retention
from cos.runtime.consumers import Consumers
from cos.runtime.core import Core

FOREVER = 10.0**8


class Step(msgspec.Struct):
    n: int


@pytest.fixture
async def retention(core: Core) -> Any:
    """Make a retention that trims when the test says so."""
    pool = Pool(url=core.database_url, size=1)

    def make(**limits: Any) -> Retention:
        return Retention(
            pool=pool,
            redis=core.redis,
            redis_url=core.redis_url,
            streams=core.streams,
            limits=Limits(**{"length": 10**6, "age_seconds": FOREVER} | limits),
        )

    yield make
    await pool.close()


@pytest.fixture
def announce(core: Core, eventually, stream_of) -> Callable[..., Any]:
    """Record so many events and wait until they stand in the stream."""

    async def record(count: int, *, first: int = 0) -> None:
        await core.recorder.record_many(
            [new_event(type="step", module="m", data={"n": n}) for n in range(first, first + count)]
        )

        async def there() -> bool:
            found = await stream_of("m")
            return bool(found) and found[-1][1]["data"]["n"] == first + count - 1

        await eventually(there)

    return record


@pytest.fixture
def group(core: Core) -> Callable[..., Any]:
    """Run a group until it has handled so many, then stop it."""

    async def run(eventually: Any, count: int) -> list[int]:
        seen: list[int] = []
        highway = Highway()

        @highway.subscriber(group="g")
        async def handle(one: Event[Step]) -> None:
            seen.append(one.data.n)

        async def done() -> bool:
            return len(seen) >= count

        async with Consumers(highways=[highway], database_url=core.database_url, redis_url=core.redis_url):
            await eventually(done)
        return seen

    return run


async def numbers(stream_of: Any) -> list[int]:
    return [event["data"]["n"] for _, event in await stream_of("m")]


class TestTrimming:
    async def test_by_length_and_the_relay_goes_on(self, announce, retention, stream_of, core) -> None:
        await announce(2500)
        await retention(length=20).turn()
        assert await numbers(stream_of) == list(range(2480, 2500))
        await announce(5, first=2500)
        await retention(length=1).turn()
        assert await numbers(stream_of) == [2504]
        assert await core.streams.generation() == 1

    async def test_by_age(self, announce, retention, stream_of) -> None:
        await announce(30)
        between = clock.now()
        await announce(10, first=30)

        class Later:
            def now(self) -> Any:
                return between + timedelta(seconds=FOREVER)

            def monotonic(self) -> float:
                return 0.0

        with clock.use_clock(Later()):
            await retention().turn()
        assert await numbers(stream_of) == list(range(30, 40))

    async def test_never_what_a_group_has_not_finished(
        self, announce, retention, stream_of, group, eventually, core
    ) -> None:
        """Neither where Redis knows the group, nor where only Postgres does."""
        await announce(10)
        await group(eventually, 10)
        await announce(20, first=10)
        await retention(length=1).turn()
        assert await numbers(stream_of) == list(range(10, 30))
        number = await core.streams.generation()
        await core.redis.xgroup_destroy(core.streams.key("m", number), "g")
        await retention(length=1).turn()
        assert await numbers(stream_of) == list(range(10, 30))

    async def test_a_hard_limit_trims_them_says_so_and_the_group_gets_them_from_the_log(
        self, announce, retention, stream_of, group, eventually
    ) -> None:
        await announce(10)
        await group(eventually, 10)
        await announce(40, first=10)
        part = retention(length=1, hard_length=5)
        await part.turn()
        assert await numbers(stream_of) == list(range(45, 50))
        assert part.overrun == {"g": 1}
        assert sorted(await group(eventually, 40)) == list(range(10, 50))
