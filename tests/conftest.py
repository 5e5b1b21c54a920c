"""What every test may ask for: the real Postgres and Redis that COS runs, and a whole COS over them."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import asyncpg
import httpx
import pytest

from cos.backend.app import create_app, with_edge
from cos.common.redis import create_redis
from cos.config import Settings, load_settings
from cos.infra.folder import DataFolder
from cos.infra.postgres import EmbeddedPostgres
from cos.infra.redis import EmbeddedRedis
from cos.migrations.apply import migrate
from cos.runtime.core import Core

_TABLES = (
    "l1.record, l1.prompt_trace, l1.generation, cc.module, "
    "highway.consumer_group, highway.group_position, highway.dead_letter, highway.projection, "
    "webhook.endpoint, webhook.secret, webhook.attempt, cc.token, cc.session"
)


@dataclass(frozen=True)
class RunningServers:
    """The session's servers: tests may stop and kill them, and must leave them running."""

    postgres: EmbeddedPostgres
    redis: EmbeddedRedis
    folder: DataFolder


@pytest.fixture(scope="session")
async def servers(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningServers]:
    folder = DataFolder.open(tmp_path_factory.mktemp("cos"))
    postgres = EmbeddedPostgres(folder=folder, fsync=False)
    redis = EmbeddedRedis(folder=folder, fsync=False)
    try:
        await postgres.start()
        await redis.start()
        await migrate(postgres.url)
        yield RunningServers(postgres, redis, folder)
    finally:
        await redis.stop()
        await postgres.stop()


@pytest.fixture
async def settings(servers: RunningServers, tmp_path: Any) -> Settings:
    return load_settings(data_dir=tmp_path / "data")


@pytest.fixture
async def clean(servers: RunningServers) -> None:
    """Empty the log, the control centre and Redis."""
    connection = await asyncpg.connect(servers.postgres.url)
    await connection.execute(f"TRUNCATE {_TABLES}")  # house: sql (the names are ours)
    await connection.close()
    client = create_redis(servers.redis.url)
    await client.flushall()
    await client.aclose()


@pytest.fixture
async def core(servers: RunningServers, settings: Settings, clean: None) -> AsyncIterator[Core]:
    """A whole COS, with an empty log."""
    async with Core(
        settings=settings, database_url=servers.postgres.url, redis_url=servers.redis.url
    ) as running:
        yield running


@pytest.fixture
async def pg(servers: RunningServers) -> AsyncIterator[asyncpg.Connection]:
    """A bare connection, to look past COS at what Postgres holds."""
    connection = await asyncpg.connect(servers.postgres.url)
    yield connection
    await connection.close()


@pytest.fixture
async def client(core: Core) -> AsyncIterator[httpx.AsyncClient]:
    """An HTTP client of the whole app, edge included."""
    transport = httpx.ASGITransport(app=with_edge(create_app(core.services())), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000") as http:
        yield http


Check = Callable[[], Awaitable[Any]]


@pytest.fixture
def eventually() -> Callable[..., Awaitable[Any]]:
    """Poll a check until it gives something true, with a deadline; gives what it gave."""

    async def poll(check: Check, *, seconds: float = 20.0) -> Any:
        deadline = time.monotonic() + seconds
        while True:
            found = await check()
            if found:
                return found
            if time.monotonic() > deadline:
                pytest.fail(f"{check.__qualname__} was not true within {seconds:g} s; last: {found!r}")
            await asyncio.sleep(0.005)

    return poll


@pytest.fixture
def stream_of(core: Core) -> Callable[[str], Awaitable[list[tuple[str, dict[str, Any]]]]]:
    """Read a module's whole stream: positions and envelopes, in order."""

    async def read(module: str) -> list[tuple[str, dict[str, Any]]]:
        number = await core.streams.generation()
        if number is None:
            return []
        entries = await core.redis.xrange(core.streams.key(module, number))
        return [(entry_id.decode(), json.loads(fields[b"event"])) for entry_id, fields in entries]

    return read
