"""Servers of one's own over TLS: all of COS works over it, and what cannot be trusted is refused in words."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from cos.backend.cc.logging import log_l1
from cos.common import db
from cos.errors import BadSetting, CosError, PostgresUnreachable
from cos.memory.event import new_event
from cos.runtime.core import Core
from cos.runtime.servers import check_redis

KEYS = Path(__file__).parents[1] / "data" / "tls"
#: What a Postgres client says before anything else when it wants TLS: a length of 8 and a magic number.
SSL_REQUEST = bytes.fromhex("0000000804d2162f")


async def _pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while piece := await reader.read(65536):
            writer.write(piece)
            await writer.drain()
    writer.close()


@asynccontextmanager
async def tls_before(path: str, *, asked_for: bool) -> AsyncIterator[int]:
    """Serve a unix socket over TLS; gives the port.

    Args:
        path: of the socket.
        asked_for: whether the client asks for TLS in Postgres's way, before it begins.
    """
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(KEYS / "server.pem")
    busy: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        busy.add(task)
        ends = [writer]
        try:
            if asked_for:
                assert await reader.readexactly(8) == SSL_REQUEST
                writer.write(b"S")
                await writer.drain()
                await writer.start_tls(context)
            inner_reader, inner_writer = await asyncio.open_unix_connection(path)
            ends.append(inner_writer)
            await asyncio.gather(_pour(reader, inner_writer), _pour(inner_reader, writer))
        except OSError:
            pass  # whoever does not trust us hangs up
        finally:
            for end in ends:
                end.transport.abort()
            busy.discard(task)

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=None if asked_for else context)
    yield server.sockets[0].getsockname()[1]
    server.close()
    for task in list(busy):
        task.cancel()
    await asyncio.gather(*busy, return_exceptions=True)


@pytest.fixture
async def urls(servers, clean) -> AsyncIterator[tuple[str, str]]:
    """Give the URLs of both servers over TLS, without what says whom to trust."""
    parts = urlsplit(servers.postgres.url)
    folder = parse_qs(parts.query)["host"][0]
    async with (
        tls_before(f"{folder}/.s.PGSQL.5432", asked_for=True) as postgres,
        tls_before(servers.redis.url.removeprefix("unix://"), asked_for=False) as redis,
    ):
        yield (
            f"postgresql://{parts.username}@localhost:{postgres}{parts.path}?sslmode=verify-full&sslrootcert=",
            f"rediss://localhost:{redis}/0?ssl_ca_certs=",
        )


class TestTrusted:
    async def test_everything_works(self, urls, settings, stream_of, eventually, clean) -> None:
        """Both ways to write, the relay's bare connection, the listeners and the health."""
        postgres, redis = (url + str(KEYS / "ca.pem") for url in urls)
        await check_redis(redis)
        async with Core(settings=settings, database_url=postgres, redis_url=redis) as core:
            await core.recorder.record(new_event(module="tls", type="step", data={"n": 1}))
            async with core.sessions() as session:
                await log_l1(session, "step", {"n": 2}, module="tls")
                await session.commit()

            async def announced() -> bool:
                number = await core.streams.generation()
                return number is not None and await core.redis.xlen(core.streams.key("tls", number)) == 2

            await eventually(announced)
            assert (await core.monitor.measure()).state.value == "ok"


class TestNotTrusted:
    async def test_postgres(self, urls) -> None:
        with pytest.raises(PostgresUnreachable, match=r"TLS handshake with Postgres at localhost:.* failed"):
            await db.connect(urls[0] + str(KEYS / "other-ca.pem"))

    async def test_a_file_that_is_not_there_is_named(self, urls) -> None:
        for connect, url in zip((db.connect, check_redis), urls, strict=True):
            with pytest.raises(
                BadSetting, match=r"the file /no/ca\.pem \(ssl\w+ in its URL\) cannot be read: No such"
            ):
                await connect(url + "/no/ca.pem")

    async def test_redis(self, urls) -> None:
        with pytest.raises(CosError, match="certificate verify failed"):
            await check_redis(urls[1] + str(KEYS / "other-ca.pem"))
