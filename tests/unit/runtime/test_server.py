"""The HTTP server inside a process: its port, its start and its stop."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from cos.errors import PortTaken
from cos.runtime.server import ApiServer, bind


async def answer(scope, receive, send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"fine"})


class TestBind:
    """The port is taken before anything else is started."""

    def test_a_free_one(self) -> None:
        """On loopback alone."""
        with bind(0) as listener:
            assert listener.getsockname()[0] == "127.0.0.1"
            assert listener.getsockname()[1] > 0

    def test_a_taken_one(self) -> None:
        with bind(0) as taken, pytest.raises(PortTaken, match="is taken by another program"):
            bind(taken.getsockname()[1])


class TestApiServer:
    """From start to stop."""

    async def test_it_serves_until_it_is_stopped(self) -> None:
        """And then its port is free again."""
        server = ApiServer(app=answer, listener=bind(0), stop_timeout_seconds=2)
        await server.start()
        url, port = server.url, int(server.url.rpartition(":")[2])
        async with httpx.AsyncClient(trust_env=False) as client:
            assert (await client.get(url)).text == "fine"
        await server.stop()
        bind(port).close()

    async def test_a_stop_before_the_start(self) -> None:
        """Frees the port as well."""
        server = ApiServer(app=answer, listener=bind(0), stop_timeout_seconds=2)
        port = int(server.url.rpartition(":")[2])
        await server.stop()
        bind(port).close()
        assert await server.stop() is None

    async def test_what_is_in_flight_is_finished(self) -> None:
        """A request that is being answered gets its answer, though the stop has begun."""
        inside, go_on = asyncio.Event(), asyncio.Event()

        async def slow(scope, receive, send) -> None:
            inside.set()
            await go_on.wait()
            await answer(scope, receive, send)

        server = ApiServer(app=slow, listener=bind(0), stop_timeout_seconds=20)
        await server.start()
        async with httpx.AsyncClient(trust_env=False) as client:
            asking = asyncio.create_task(client.get(server.url))
            await inside.wait()
            stopping = asyncio.create_task(server.stop())
            await asyncio.sleep(0)
            go_on.set()
            assert (await asking).text == "fine"
        await stopping
