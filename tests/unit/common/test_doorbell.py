"""Doorbells between processes, over a real Redis channel."""

from __future__ import annotations

import asyncio

import pytest

from cos.common.doorbell import Listener, Ringer
from cos.common.looper import Looper
from cos.common.redis import create_redis
from cos.errors import RedisUnreachable


@pytest.fixture
async def redis(servers):
    async with create_redis(servers.redis.url) as client:
        yield client


async def test_a_ring_in_one_process_is_heard_in_another(servers, redis, eventually) -> None:
    heard = 0

    def ring() -> None:
        nonlocal heard
        heard += 1

    listener = Looper(
        name="l", part=Listener(redis=redis, redis_url=servers.redis.url, channel="test.bell", ring=ring)
    )
    ringer = Looper(name="r", part=Ringer(redis=redis, channel="test.bell"))
    listener.start()

    async def listens():
        return dict(await redis.pubsub_numsub("test.bell")).get(b"test.bell")

    await eventually(listens)
    ringer.start()
    try:

        async def first():
            return heard == 1

        await eventually(first)
        for _ in range(100):
            ringer.ring()

        async def second():
            return heard == 2

        await eventually(second)
    finally:
        await asyncio.gather(listener.stop(), ringer.stop())
    assert heard == 2


async def test_a_ringer_without_redis_does_not_fail(tmp_path) -> None:
    """There is no relay to wake then; the next commit rings again."""
    async with create_redis(f"unix://{tmp_path}/none") as nobody:
        assert await Ringer(redis=nobody, channel="test.bell").turn() > 0


async def test_a_listener_without_redis_says_so(tmp_path) -> None:
    url = f"unix://{tmp_path}/none"
    async with create_redis(url) as nobody:
        listener = Listener(redis=nobody, redis_url=url, channel="test.bell", ring=lambda: None)
        with pytest.raises(RedisUnreachable, match="does not answer"):
            await listener.turn()
