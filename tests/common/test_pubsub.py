"""`RedisPubSub` on a real Redis: what is published is heard, by whom it should be."""

from __future__ import annotations

import asyncio

import pytest

from cos.common import context
from cos.common.pubsub import MAX_MESSAGE_BYTES, MAX_WAITING, RedisPubSub
from cos.common.redis import create_redis
from cos.errors import BadInput, Unavailable

DEADLINE_SECONDS = 10.0


@pytest.fixture
async def channels(servers):
    redis = create_redis(servers.redis.url)
    async with RedisPubSub(redis=redis, url=servers.redis.url) as made:
        yield made
    await redis.aclose()


class Ear:
    """A handler that keeps what it hears."""

    def __init__(self) -> None:
        self.heard: asyncio.Queue = asyncio.Queue()

    async def __call__(self, message) -> None:
        await self.heard.put(message)

    async def next(self):
        async with asyncio.timeout(DEADLINE_SECONDS):
            return await self.heard.get()


class TestPublishing:
    async def test_a_message_comes_as_it_was_sent(self, channels) -> None:
        ear = Ear()
        await channels.subscribe("a", ear)
        data = {"text": "ä \U0001f600", "number": 1.5, "list": [None, True]}
        assert await channels.publish("a", data, correlation_id="c-1") == 1
        message = await ear.next()
        assert (message.channel, message.data, message.correlation_id) == ("a", data, "c-1")

    async def test_nobody_listening_is_a_fine_answer(self, channels) -> None:
        assert await channels.publish("nobody", 1) == 0

    async def test_many_come_in_order(self, channels) -> None:
        ear = Ear()
        await channels.subscribe("a", ear)
        for n in range(200):
            await channels.publish("a", n)
        assert [(await ear.next()).data for _ in range(200)] == list(range(200))

    async def test_the_requests_id_is_the_correlation_id_and_the_handler_runs_under_it(
        self, channels
    ) -> None:
        seen: asyncio.Queue = asyncio.Queue()

        async def handler(message) -> None:
            await seen.put((message.correlation_id, context.request_id.get()))

        await channels.subscribe("a", handler)
        token = context.request_id.set("req-7")
        await channels.publish("a", None)
        context.request_id.reset(token)
        async with asyncio.timeout(DEADLINE_SECONDS):
            assert await seen.get() == ("req-7", "req-7")
        await channels.publish("a", None)
        first, second = await seen.get()
        assert first == second != "req-7"

    @pytest.mark.parametrize("channel", ["", "c" * 201, "\ud800"])
    async def test_a_bad_channel_is_named(self, channels, channel) -> None:
        with pytest.raises(BadInput, match="channel"):
            await channels.publish(channel, 1)

    @pytest.mark.parametrize("data", [object(), "x" * MAX_MESSAGE_BYTES, {1, object()}])
    async def test_what_cannot_be_sent_is_named(self, channels, data) -> None:
        with pytest.raises(BadInput, match="'a'"):
            await channels.publish("a", data)


class TestSubscribing:
    async def test_several_handlers_of_a_channel_hear_each_message(self, channels) -> None:
        ears = [Ear() for _ in range(3)]
        for ear in ears:
            await channels.subscribe("a", ear)
        assert await channels.publish("a", 1) == 1
        assert [(await ear.next()).data for ear in ears] == [1, 1, 1]

    async def test_channels_do_not_mix(self, channels) -> None:
        first, second = Ear(), Ear()
        await channels.subscribe("a", first)
        await channels.subscribe("b", second)
        await channels.publish("b", "for b")
        await channels.publish("a", "for a")
        assert ((await first.next()).data, (await second.next()).data) == ("for a", "for b")

    async def test_one_handler_taken_off_leaves_the_others(self, channels) -> None:
        gone, stays = Ear(), Ear()
        await channels.subscribe("a", gone)
        await channels.subscribe("a", stays)
        await channels.unsubscribe("a", gone)
        await channels.publish("a", 1)
        assert (await stays.next()).data == 1
        assert gone.heard.empty()

    async def test_the_last_one_taken_off_ends_the_subscription(self, channels, eventually) -> None:
        await channels.subscribe("a", Ear())
        await channels.unsubscribe("a")
        await channels.unsubscribe("a")

        async def unheard() -> bool:
            return await channels.publish("a", 1) == 0

        await eventually(unheard)

    async def test_the_same_handler_twice_is_refused(self, channels) -> None:
        ear = Ear()
        await channels.subscribe("a", ear)
        with pytest.raises(BadInput, match="already"):
            await channels.subscribe("a", ear)

    async def test_before_connect_there_is_nothing_to_subscribe_to(self, servers) -> None:
        redis = create_redis(servers.redis.url)
        with pytest.raises(Unavailable, match="connect"):
            await RedisPubSub(redis=redis, url=servers.redis.url).subscribe("a", Ear())
        await redis.aclose()


class TestHandlers:
    async def test_an_error_of_one_hurts_neither_the_others_nor_the_next_message(self, channels) -> None:
        ear = Ear()

        async def breaks(message) -> None:
            raise ValueError(message.data)

        await channels.subscribe("a", breaks)
        await channels.subscribe("a", ear)
        for n in range(3):
            await channels.publish("a", n)
        assert [(await ear.next()).data for _ in range(3)] == [0, 1, 2]
        assert channels.health().failed == 3

    async def test_one_that_falls_behind_loses_the_oldest_and_holds_nobody_up(
        self, channels, eventually
    ) -> None:
        held, ear = asyncio.Event(), Ear()
        slow: list[int] = []

        async def waits(message) -> None:
            await held.wait()
            slow.append(message.data)

        await channels.subscribe("a", waits)
        await channels.subscribe("a", ear)
        count = MAX_WAITING + 50
        for n in range(count):
            await channels.publish("a", n)
        assert [(await ear.next()).data for _ in range(count)] == list(range(count))
        held.set()

        async def is_done() -> bool:
            return len(slow) == count - channels.health().lost

        await eventually(is_done)
        assert channels.health().lost == 49
        assert slow[-1] == count - 1

    async def test_a_foreign_message_is_handed_on_as_it_is(self, channels, servers) -> None:
        ear = Ear()
        await channels.subscribe("a", ear)
        async with create_redis(servers.redis.url) as other:
            await other.publish("a", b"not json")
        assert (await ear.next()).data == "not json"


async def test_health_tells_what_stands(channels) -> None:
    await channels.subscribe("a", Ear())
    await channels.publish("a", 1)
    told = channels.health()
    assert (told.connected, told.channels, told.handlers, told.published) == (True, 1, 1, 1)
    assert told.breaker == "CLOSED"
