"""What COS stands on in Redis: a client that names its failures, a server of its own, keys of its own namespace."""

from __future__ import annotations

import asyncio

import pytest
from redis.exceptions import ResponseError

from cos.common import redis as redis_client
from cos.errors import RedisUnreachable
from cos.memory.event import new_event


@pytest.fixture
async def client(servers):
    async with redis_client.create_redis(servers.redis.url) as made:
        yield made


class TestServer:
    async def test_it_answers_over_a_private_socket_only(self, servers, client) -> None:
        assert await client.ping()
        assert (await client.config_get("port"))["port"] == "0"
        assert servers.redis.url.startswith("unix://")

    async def test_it_keeps_an_append_only_file(self, client) -> None:
        assert (await client.config_get("appendonly"))["appendonly"] == "yes"

    async def test_it_never_evicts_what_it_was_given(self, client) -> None:
        assert (await client.config_get("maxmemory-policy"))["maxmemory-policy"] == "noeviction"


class TestClient:
    async def test_it_does_not_repeat_a_command_by_itself(self, client) -> None:
        """A repetition could do something twice: whoever wants it says so."""
        assert client.get_retry()._retries == 0

    async def test_each_failure_has_a_sentence(self, tmp_path) -> None:
        url = f"unix://{tmp_path}/none.sock"
        async with redis_client.create_redis(url) as nobody:
            with pytest.raises(RedisUnreachable, match="does not answer"):
                await redis_client.check(nobody, url)

    async def test_a_cancelled_command_leaves_no_answer_to_the_next(self, client) -> None:
        async def wait() -> None:
            await client.blpop("nothing.here", timeout=3)

        waiting = asyncio.create_task(wait())
        await asyncio.wait([waiting], timeout=0.05)
        waiting.cancel()
        await asyncio.wait([waiting])
        assert await asyncio.gather(*(client.echo(str(n)) for n in range(20))) == [
            str(n).encode() for n in range(20)
        ]

    async def test_many_at_once_share_a_bounded_pool(self, client) -> None:
        await asyncio.gather(*(client.ping() for _ in range(40)))
        assert len(client.connection_pool._available_connections) <= redis_client.MAX_CONNECTIONS


class TestKeys:
    async def test_everything_that_cos_writes_is_in_its_namespace(self, core, eventually) -> None:
        await core.recorder.record(new_event(type="step", module="m", data=1))

        async def announced() -> bool:
            return await core.redis.exists("mem0.stream.m.1") == 1

        await eventually(announced)
        keys = [key.decode() for key in await core.redis.keys("*")]
        assert [key for key in keys if not key.startswith("mem0.")] == []

    async def test_a_streams_ids_only_grow(self, core, stream_of, eventually) -> None:
        await core.recorder.record_many([new_event(type="step", module="m", data=n) for n in range(5)])
        await eventually(lambda: stream_of("m"))
        key = core.streams.key("m", 1)
        with pytest.raises(ResponseError, match="equal or smaller"):
            await core.redis.xadd(key, {"event": "x"}, id="1-1")
