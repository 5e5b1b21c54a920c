"""Which Postgres and Redis a process uses: embedded ones that it runs, or given ones that it never touches."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Self

from cos.errors import BadSetting
from cos.infra.postgres import EmbeddedPostgres
from cos.infra.redis import EmbeddedRedis
from cos.infra.server import ExternalServer, Server

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from cos.config import Settings
    from cos.infra.folder import DataFolder


class Servers:
    """The two servers of a COS; entering the context starts what is ours and migrates, leaving stops what is ours."""

    def __init__(
        self,
        *,
        settings: Settings,
        folder: DataFolder,
        progress: Callable[[str], None],
        meanwhile: Callable[[], object] = lambda: None,
    ) -> None:
        """Choose the servers; nothing is started.

        Args:
            settings: `database_url` and `redis_url` name given servers.
            folder: where embedded ones live.
            progress: told one line a step.
            meanwhile: called in a thread while they start; they are not used before it has returned.
        """
        self._meanwhile = meanwhile
        self._progress = progress
        self._stack = AsyncExitStack()
        self.postgres: Server = (
            EmbeddedPostgres(folder=folder, fsync=settings.fsync, progress=progress)
            if settings.database_url is None
            else ExternalServer(url=settings.database_url.get_secret_value())
        )
        self.redis: Server = (
            EmbeddedRedis(folder=folder, fsync=settings.fsync, progress=progress)
            if settings.redis_url is None
            else ExternalServer(url=settings.redis_url.get_secret_value())
        )

    async def __aenter__(self) -> Self:
        """Start both at once, then migrate."""
        try:
            loading = asyncio.create_task(asyncio.to_thread(self._meanwhile), name="servers:meanwhile")
            try:
                await self._start_both()
            finally:
                await asyncio.wait([loading])
            loading.result()
            await check_redis(self.redis.url)
            applied = await _migrate(self.postgres.url)
            self._progress("Database    migrated" if applied else "Database    up to date")
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop what is ours, last started first."""
        await self._stack.aclose()

    async def _start_both(self) -> None:
        both = {"Postgres": self.postgres, "Redis": self.redis}
        starting = []
        for name, server in both.items():
            self._stack.push_async_callback(server.stop)
            starting.append(asyncio.create_task(server.start(), name=f"start-{name}"))
        try:
            for (name, server), task in zip(both.items(), starting, strict=True):
                await task
                state = "given" if server.state == "external" else f"running (pid {server.pid})"
                self._progress(f"{name:<12}{state}")
        finally:
            for task in starting:
                task.cancel()  # the other one, if this one failed
            await asyncio.wait(starting)


async def _migrate(url: str) -> bool:
    from cos.migrations.apply import migrate  # noqa: PLC0415  (loaded while the servers start)

    return await migrate(url)


async def check_redis(url: str) -> None:
    """Prove that the Redis can be used; raises what `cos.common.redis.check` raises."""
    from cos.common import redis as redis_client  # noqa: PLC0415  (loaded while the servers start)

    client = redis_client.create_redis(url)
    try:
        await redis_client.check(client, url)
    finally:
        await client.aclose()


def given_urls(settings: Settings, folder: DataFolder) -> tuple[str, str]:
    """Give the URLs for a process that runs no servers: from the settings, else those of the COS in the folder.

    Raises:
        BadSetting: neither is there.
    """
    run = folder.read_run() or {}
    urls = []
    for name, given in (("postgres", settings.database_url), ("redis", settings.redis_url)):
        url = given.get_secret_value() if given is not None else run.get(name, {}).get("url")
        if url is None:
            variable = "COS_DATABASE_URL" if name == "postgres" else "COS_REDIS_URL"
            raise BadSetting(
                f"There is no {name.title()} to use: set {variable}, or start COS in {folder.path} with: cos up."
            )
        urls.append(url)
    return urls[0], urls[1]
