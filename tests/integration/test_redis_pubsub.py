"""The live channels of the highway and the plain channels side by side, over one Redis."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from cos.backend.cc.logging import log_l1
from cos.common import messages
from cos.common.pubsub import RedisPubSub
from cos.common.redis import create_redis
from cos.memory.event import new_event

DEADLINE_SECONDS = 10.0


@pytest.fixture
async def channels(core):
    async with RedisPubSub(redis=core.redis, url=core.redis_url) as made:
        yield made


@pytest.fixture
def heard():
    return asyncio.Queue()


async def test_what_is_committed_is_published_on_its_modules_live_channel(core, channels, heard) -> None:
    """Once, after the commit, as the envelope that stands in the stream."""
    await channels.subscribe("mem0.recorded.m", heard.put)
    done = await core.recorder.record(new_event(type="chapter.saved", module="m", data={"words": 3}))
    async with asyncio.timeout(DEADLINE_SECONDS):
        message = await heard.get()
    envelope = messages.decode(
        message.data if isinstance(message.data, str) else msgspec.json.encode(message.data)
    )
    assert envelope.id == done.id
    assert heard.empty()


async def test_a_rolled_back_record_is_never_heard_of(core, channels, heard) -> None:
    await channels.subscribe("mem0.recorded.m", heard.put)
    async with core.sessions() as db:
        await log_l1(db, "never", module="m")
        await db.rollback()
    await core.recorder.record(new_event(type="after", module="m"))
    async with asyncio.timeout(DEADLINE_SECONDS):
        message = await heard.get()
    assert '"after"' in str(message.data)
    assert heard.empty()


async def test_a_lost_signal_is_no_lost_event(core, heard, stream_of, eventually) -> None:
    """Nobody listened when it was published: the stream has it all the same."""
    await core.recorder.record(new_event(type="step", module="m", data=1))
    [(_, event)] = await eventually(lambda: stream_of("m"))
    assert event["data"] == 1


async def test_two_processes_worth_of_channels_hear_each_other(core, servers, heard) -> None:
    other = create_redis(servers.redis.url)
    async with (
        RedisPubSub(redis=core.redis, url=core.redis_url) as here,
        RedisPubSub(redis=other, url=servers.redis.url) as there,
    ):
        await there.subscribe("signal", heard.put)
        assert await here.publish("signal", {"hello": 1}) == 1
        async with asyncio.timeout(DEADLINE_SECONDS):
            assert (await heard.get()).data == {"hello": 1}
    await other.aclose()
