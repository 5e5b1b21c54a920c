"""The channels when Redis fails: the breaker opens, one probe finds it back, and the subscriptions stand again."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from collections.abc import AsyncIterator

import pytest

from cos.common import clock
from cos.common.circuit_breaker import BreakerOpen, CircuitBreaker, State
from cos.common.pubsub import RedisPubSub
from cos.common.redis import LOST, create_redis
from cos.errors import RedisUnreachable
from cos.infra.folder import DataFolder
from cos.infra.redis import EmbeddedRedis


@pytest.fixture(scope="module")
async def own(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[EmbeddedRedis]:
    """A Redis that these tests may kill."""
    folder = DataFolder.open(tmp_path_factory.mktemp("own"))
    server = EmbeddedRedis(folder=folder, fsync=False)
    await server.start()
    yield server
    await server.stop()
    shutil.rmtree(folder.sockets)


@pytest.fixture
def breaker() -> CircuitBreaker:
    return CircuitBreaker(name="Redis", failures=LOST, failure_threshold=3, reset_seconds=0.2)


@pytest.fixture
async def channels(own, breaker, eventually):
    async def runs() -> bool:
        return own.state == "running"

    await eventually(runs)
    redis = create_redis(own.url)
    async with RedisPubSub(redis=redis, url=own.url, breaker=breaker) as made:
        yield made
    await redis.aclose()


async def fail(channels: RedisPubSub, times: int) -> None:
    for _ in range(times):
        with pytest.raises(RedisUnreachable, match="Redis"):
            await channels.publish("a", 1)


@pytest.fixture
async def away(servers, breaker, tmp_path):
    """Channels whose Redis is not there."""
    redis = create_redis(f"unix://{tmp_path}/none.sock")
    async with RedisPubSub(redis=redis, url=f"unix://{tmp_path}/none.sock", breaker=breaker) as made:
        yield made
    await redis.aclose()


class TestOpening:
    async def test_after_its_failures_in_a_row_nothing_is_tried(self, away, breaker) -> None:
        await fail(away, 3)
        assert breaker.state is State.OPEN
        with pytest.raises(BreakerOpen, match="3 times"):
            await away.publish("a", 1)
        assert away.health().breaker == "OPEN"

    async def test_what_cannot_be_sent_is_no_failure_of_redis(self, away, breaker) -> None:
        for _ in range(5):
            with pytest.raises(Exception, match="JSON"):
                await away.publish("a", object())
        assert breaker.state is State.CLOSED

    async def test_subscribing_while_redis_is_away_stands_later(self, own, channels, eventually) -> None:
        first = own.pid
        os.kill(first, signal.SIGKILL)
        heard: list[int] = []

        async def handler(message) -> None:
            heard.append(message.data)

        await channels.subscribe("late", handler, timeout_seconds=0.01)

        async def is_heard() -> bool:
            try:
                await channels.publish("late", 1)
            except (RedisUnreachable, BreakerOpen):
                return False
            return bool(heard)

        await eventually(is_heard)


class TestRecovery:
    async def test_exactly_one_probe_finds_out(self, away, breaker) -> None:
        """Fifty callers in the half-open state: one reaches for Redis, the others are refused at once."""
        await fail(away, 3)

        class Later:
            def now(self):
                return real.now()

            def monotonic(self) -> float:
                return real.monotonic() + 60

        real = clock.SystemClock()
        with clock.use_clock(Later()):
            assert breaker.state is State.HALF_OPEN
            ends = await asyncio.gather(*(away.publish("a", 1) for _ in range(50)), return_exceptions=True)
        kinds = [type(end).__name__ for end in ends]
        assert kinds.count("RedisUnreachable") == 1
        assert kinds.count("BreakerOpen") == 49

    async def test_after_a_kill_everything_is_subscribed_again_by_itself(
        self, own, channels, eventually
    ) -> None:
        heard: list[object] = []

        async def handler(message) -> None:
            heard.append(message.data)

        await channels.subscribe("a", handler)
        await channels.subscribe("b", handler)
        before = channels.health().reconnects
        os.kill(own.pid, signal.SIGKILL)

        async def both_hear() -> bool:
            heard.clear()
            try:
                return await channels.publish("a", "a") == 1 and await channels.publish("b", "b") == 1
            except (RedisUnreachable, BreakerOpen):
                return False

        await eventually(both_hear)

        async def came() -> bool:
            return heard == ["a", "b"]

        await eventually(came)
        assert channels.health().reconnects > before
        assert channels.health().connected
        assert channels.breaker.state is State.CLOSED

    async def test_closing_while_redis_is_away_takes_no_time_to_speak_of(self, away) -> None:
        await away.subscribe("a", lambda _message: asyncio.sleep(0), timeout_seconds=0.01)
        async with asyncio.timeout(5):
            await away.close()
