"""The channels in all orders: any mix of subscribing, publishing and leaving keeps to the same few promises."""

from __future__ import annotations

import asyncio
import random

import pytest

from cos.common.pubsub import Message, RedisPubSub
from cos.common.redis import create_redis

DEADLINE_SECONDS = 10.0


@pytest.fixture
async def channels(servers):
    redis = create_redis(servers.redis.url)
    async with RedisPubSub(redis=redis, url=servers.redis.url) as made:
        yield made
    await redis.aclose()


class Ear:
    def __init__(self) -> None:
        self.heard: list[int] = []

    async def __call__(self, message: Message) -> None:
        self.heard.append(message.data)


@pytest.mark.parametrize("seed", range(6))
async def test_whoever_is_subscribed_hears_each_message_once_and_in_order(  # noqa: C901  (a model in one place)
    channels, eventually, seed
) -> None:
    """A model beside the real thing: for each ear, what was published on its channel while it was there."""
    dice = random.Random(seed)  # noqa: S311  (a repeatable mix)
    ears: dict[tuple[str, Ear], list[int]] = {}
    gone: list[tuple[Ear, list[int]]] = []

    async def quiet() -> bool:
        return all(ear.heard == expected for (_, ear), expected in ears.items())

    for number in range(150):
        act, channel = dice.choice(("subscribe", "publish", "publish", "publish", "leave")), dice.choice("ab")
        if act == "subscribe" and len(ears) < 8:
            # What is still on its way when it comes would be heard by the new one, too.
            await eventually(quiet)
            ear = Ear()
            await channels.subscribe(channel, ear)
            ears[channel, ear] = []
        elif act == "publish":
            await channels.publish(channel, number)
            for (where, _), expected in ears.items():
                if where == channel:
                    expected.append(number)
        elif act == "leave" and ears:
            where, ear = dice.choice(list(ears))
            expected = ears.pop((where, ear))

            async def caught_up(ear=ear, expected=expected) -> bool:
                return ear.heard == expected

            await eventually(caught_up)
            await channels.unsubscribe(where, ear)
            gone.append((ear, expected))
    for (_, ear), expected in ears.items():

        async def all_heard(ear=ear, expected=expected) -> bool:
            return ear.heard == expected

        await eventually(all_heard)
    assert [ear.heard for ear, _ in gone] == [expected for _, expected in gone]


async def test_a_hundred_channels_at_once(channels, eventually) -> None:
    ears = {f"c{n}": Ear() for n in range(100)}
    await asyncio.gather(*(channels.subscribe(name, ear) for name, ear in ears.items()))
    await asyncio.gather(*(channels.publish(name, n) for n, name in enumerate(ears)))

    async def all_heard() -> bool:
        return [ear.heard for ear in ears.values()] == [[n] for n in range(100)]

    await eventually(all_heard)
    assert channels.health().channels == 100


async def test_closing_leaves_no_task_and_no_connection(servers) -> None:
    redis = create_redis(servers.redis.url)
    before = asyncio.all_tasks()
    async with RedisPubSub(redis=redis, url=servers.redis.url) as channels:
        for n in range(5):
            await channels.subscribe(f"c{n}", Ear())
    assert asyncio.all_tasks() - before == set()
    assert not redis.connection_pool._in_use_connections
    await redis.aclose()


async def test_it_can_be_opened_again(servers, eventually) -> None:
    redis = create_redis(servers.redis.url)
    channels = RedisPubSub(redis=redis, url=servers.redis.url)
    for _ in range(2):
        ear = Ear()
        await channels.connect()
        await channels.connect()
        await channels.subscribe("a", ear)
        await channels.publish("a", 1)

        async def heard(ear=ear) -> bool:
            return ear.heard == [1]

        await eventually(heard)
        await channels.close()
    await redis.aclose()
