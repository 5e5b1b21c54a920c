"""Doorbells between processes: a ring in one is heard by the relay in another, over a Redis channel.

A ring says only that something was committed, so any number of them between two publications become one, and a lost
one costs a poll interval of the relay. Within a process the relay's own `Looper.ring` is the doorbell.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import NoReturn

from redis.asyncio import Redis

from cos.common.looper import LAST_RETRY_SECONDS
from cos.common.redis import LOST, connect_error

_LISTEN_SECONDS = 30.0


class Ringer:
    """Publishes that it was rung; a background part whose `Looper.ring` is the doorbell to hand out."""

    def __init__(self, *, redis: Redis, channel: str) -> None:
        """Take the client and the channel."""
        self._redis = redis
        self._channel = channel

    async def turn(self) -> float:
        """Publish one ring, and wait for the next; a Redis that is away has no relay to wake."""
        with suppress(*LOST):
            await self._redis.publish(self._channel, b"1")
        return LAST_RETRY_SECONDS


class Listener:
    """Rings the relay of this process when another process publishes; a background part."""

    def __init__(self, *, redis: Redis, redis_url: str, channel: str, ring: Callable[[], None]) -> None:
        """Take the client, its URL for messages, the channel, and what to ring."""
        self._redis = redis
        self._redis_url = redis_url
        self._channel = channel
        self._ring = ring

    async def turn(self) -> float:
        """Listen until the connection is lost; then the looper tries again.

        Raises:
            RedisUnreachable: in words; it always ends so.
        """
        try:
            return await self._listen()
        except LOST as error:
            raise connect_error(self._redis_url, error) from error

    async def _listen(self) -> NoReturn:
        async with self._redis.pubsub(ignore_subscribe_messages=True) as pubsub:
            await (pubsub.psubscribe if "*" in self._channel else pubsub.subscribe)(self._channel)
            while True:
                message = await pubsub.get_message(timeout=_LISTEN_SECONDS)
                if message is not None:
                    self._ring()
                await asyncio.sleep(0)
