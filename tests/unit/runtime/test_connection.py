"""One HTTP connection of a real server: what it may take of time and room before anybody has judged it."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from typing import Any

import pytest

from cos.runtime.connection import Connection, ConnectionLimits, Patience
from cos.runtime.server import ApiServer, bind

HEAD_BYTES = 1024
HASTY = ConnectionLimits(head_bytes=HEAD_BYTES, head_seconds=0.2, body_seconds=600)
HASTY_IN_BODIES = ConnectionLimits(head_bytes=HEAD_BYTES, head_seconds=600, body_seconds=0.2)
LAZY = ConnectionLimits(head_bytes=HEAD_BYTES, head_seconds=600, body_seconds=600)


class Server:
    """A server whose app reads the whole body and answers with its length, at `/early` before it reads."""

    def __init__(self, limits: ConnectionLimits) -> None:
        self.served: list[str] = []
        self.bodies: list[int] = []
        self.entered = asyncio.Event()
        self.gone = asyncio.Event()
        self.go_on = asyncio.Event()
        self.api = ApiServer(app=self.app, listener=bind(0), stop_timeout_seconds=1, limits=limits)

    async def app(self, scope: Any, receive: Any, send: Any) -> None:
        self.served.append(scope["path"])
        self.entered.set()
        if scope["path"] == "/wait":
            await self.go_on.wait()
        if scope["path"] == "/early":
            await self.answer(send, b"early")
        size = 0
        while True:
            message = await receive()
            if message["type"] != "http.request":
                self.gone.set()
                return
            size += len(message.get("body", b""))
            if not message.get("more_body", False):
                break
        self.bodies.append(size)
        if scope["path"] != "/early":
            await self.answer(send, str(size).encode())

    async def answer(self, send: Any, body: bytes) -> None:
        headers = [(b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    @property
    def connection(self) -> Connection:
        """The one connection that is open."""
        [found] = self.api._server.server_state.connections
        assert isinstance(found, Connection)
        return found

    def grow_late(self, *, seconds: float) -> None:
        """Do what the server's patience does when so much time has passed."""
        error = self.connection.late(asyncio.get_running_loop().time() + seconds)
        assert error is not None
        self.connection.refuse(error)

    @asynccontextmanager
    async def talk(self) -> Any:
        host, port = self.api.url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        try:
            yield reader, writer
        finally:
            writer.close()


@pytest.fixture
async def start():
    """Start a server with these limits."""
    servers: list[Server] = []

    async def make(limits: ConnectionLimits) -> Server:
        made = Server(limits)
        await made.api.start()
        servers.append(made)
        return made

    yield make
    for one in servers:
        await one.api.stop()


async def answer_of(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """Read one answer; gives its status and body."""
    async with asyncio.timeout(30):
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(
            int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-l")
        )
        return int(head.split()[1]), await reader.readexactly(length)


async def rest_of(reader: asyncio.StreamReader) -> bytes:
    async with asyncio.timeout(30):
        return await reader.read()


def head_of(size: int) -> bytes:
    """A whole head of exactly so many bytes."""
    begun = b"GET / HTTP/1.1\r\nhost: a\r\nx: "
    return begun + b"x" * (size - len(begun) - 4) + b"\r\n\r\n"


class TestHead:
    async def test_it_may_be_as_large_as_the_limit(self, start) -> None:
        server = await start(LAZY)
        async with server.talk() as (reader, writer):
            writer.write(head_of(HEAD_BYTES))
            assert await answer_of(reader) == (200, b"0")

    async def test_one_that_never_ends_is_ended_at_the_limit(self, start) -> None:
        """As it grows, byte by byte, and not after it was kept whole; no app hears of it."""
        server = await start(LAZY)
        async with server.talk() as (reader, writer):
            writer.write(head_of(5000)[: HEAD_BYTES + 1])
            status, body = await answer_of(reader)
            assert status == 431
            assert json.loads(body)["type"] == "urn:cos:problem:headers-too-large"
            assert await rest_of(reader) == b""
        assert server.served == []

    async def test_each_request_of_a_connection_has_a_head_of_its_own(self, start) -> None:
        server = await start(LAZY)
        async with server.talk() as (reader, writer):
            for _ in range(4):
                writer.write(head_of(HEAD_BYTES - 100))
                assert await answer_of(reader) == (200, b"0")

    async def test_its_bytes_are_not_those_of_the_body(self, start) -> None:
        server = await start(LAZY)
        async with server.talk() as (reader, writer):
            writer.write(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 50000\r\n\r\n")
            writer.write(b"x" * 50_000)
            assert await answer_of(reader) == (200, b"50000")

    @pytest.mark.parametrize("sent", [b"", b"G", b"GET / HTTP/1.1\r\nhost: a\r\n"])
    async def test_one_that_takes_too_long(self, start, sent) -> None:
        """Also where not a byte of it comes."""
        server = await start(HASTY)
        async with server.talk() as (reader, writer):
            writer.write(sent)
            status, body = await answer_of(reader)
            assert status == 408
            assert "did not arrive within 0.2 s" in json.loads(body)["detail"]
            assert await rest_of(reader) == b""
        assert server.served == []

    async def test_a_rest_between_two_requests_is_no_slow_head(self, start) -> None:
        """A browser keeps its connection and says nothing on it."""
        server = await start(LAZY)
        async with server.talk() as (reader, writer):
            writer.write(head_of(100))
            assert await answer_of(reader) == (200, b"0")
            assert server.connection.late(asyncio.get_running_loop().time() + 6000) is None
            writer.write(head_of(100))
            assert await answer_of(reader) == (200, b"0")

    async def test_a_second_one_that_begins_and_stops(self, start, eventually) -> None:
        server = await start(LAZY)
        async with server.talk() as (reader, writer):
            writer.write(head_of(100))
            assert await answer_of(reader) == (200, b"0")
            writer.write(b"GET /again HT")

            async def begun() -> bool:
                return server.connection._head_began is not None

            await eventually(begun)
            assert server.connection.late(asyncio.get_running_loop().time()) is None
            server.grow_late(seconds=601)
            assert (await answer_of(reader))[0] == 408


class TestBody:
    async def test_one_that_stops_is_ended(self, start) -> None:
        """And what reads it finds its end."""
        server = await start(HASTY_IN_BODIES)
        async with server.talk() as (reader, writer):
            writer.write(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\n12345")
            status, body = await answer_of(reader)
            assert status == 408
            assert "body arrived for 0.2 s" in json.loads(body)["detail"]
            async with asyncio.timeout(30):
                await server.gone.wait()
        assert server.bodies == []

    async def test_after_its_answer_it_is_ended_without_a_second_one(self, start) -> None:
        """Who was answered already and sends no more must not keep the connection."""
        server = await start(LAZY)
        async with server.talk() as (reader, writer):
            writer.write(b"POST /early HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\n12345")
            assert await answer_of(reader) == (200, b"early")
            assert server.connection.late(asyncio.get_running_loop().time() + 599) is None
            server.grow_late(seconds=601)
            assert await rest_of(reader) == b""

    async def test_a_slow_answer_is_nobodys_fault(self, start) -> None:
        """The request is whole, and takes its time: it is not late."""
        server = await start(LAZY)
        async with server.talk() as (reader, writer):
            writer.write(b"GET /wait HTTP/1.1\r\nhost: a\r\n\r\n")
            async with asyncio.timeout(30):
                await server.entered.wait()
            assert server.connection.late(asyncio.get_running_loop().time() + 6000) is None
            server.go_on.set()
            assert await answer_of(reader) == (200, b"0")

    async def test_a_next_head_has_time_until_the_answer_is_given(self, start, eventually) -> None:
        """It came early, and nobody reads it before."""
        server = await start(LAZY)
        async with server.talk() as (reader, writer):
            writer.write(b"GET /wait HTTP/1.1\r\nhost: a\r\n\r\n")
            async with asyncio.timeout(30):
                await server.entered.wait()
            writer.write(b"GET /ne")

            async def begun() -> bool:
                return server.connection._head_began is not None

            await eventually(begun)
            assert server.connection.late(asyncio.get_running_loop().time() + 6000) is None
            server.go_on.set()
            assert await answer_of(reader) == (200, b"0")


class TestPatience:
    async def test_looks_at_our_connections_alone(self) -> None:
        """A WebSocket is a connection of another kind: its limits are elsewhere."""
        assert await Patience(connections=[object(), None]).turn() > 0

    def test_uvicorn_makes_them_with_the_limits_of_their_server(self) -> None:
        """The class's own limits are what a server without any gets."""
        assert Connection.limits == ConnectionLimits()
