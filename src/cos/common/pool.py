"""A few bare connections to Postgres that background parts of one process share."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import asyncpg

from cos.common import db

if TYPE_CHECKING:
    from asyncpg.pool import PoolConnectionProxy

    Connection = asyncpg.Connection[Any] | PoolConnectionProxy[Any]


class Pool:
    """Connections made when needed, closed when unused for minutes, and replaced when lost."""

    def __init__(self, *, url: str, size: int = 4, name: str = "cos") -> None:
        """Take the address; nothing connects yet.

        Args:
            url: of the Postgres.
            size: most connections open at once.
            name: shown as `application_name`.
        """
        self._url = url
        self._size = size
        self._name = name
        self._pool: asyncpg.Pool[Any] | None = None
        self._opening = asyncio.Lock()

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """Lend a connection.

        Raises:
            PostgresUnreachable, DiskFull, WrongPassword: there is none to lend, in words. What fails while it is lent
                is raised as the driver raised it; `explain` gives the words for it.
        """
        try:
            pool = await self._opened()
            lent = await pool.acquire(timeout=db.POOL_TIMEOUT_SECONDS)
        except (*db.LOST, asyncpg.PostgresError, ValueError) as error:
            raise db.connect_error(self._url, error) from error
        try:
            yield lent
        finally:
            with suppress(*db.LOST):
                await pool.release(lent, timeout=db.POOL_TIMEOUT_SECONDS)

    def explain(self, error: BaseException) -> Exception:
        """Give the sentence for a failure of the driver."""
        return db.connect_error(self._url, error)

    async def close(self) -> None:
        """Close every connection."""
        pool, self._pool = self._pool, None
        if pool is not None:
            with suppress(TimeoutError, *db.LOST):
                async with asyncio.timeout(2):
                    await pool.close()
            pool.terminate()

    async def _opened(self) -> asyncpg.Pool[Any]:
        async with self._opening:
            if self._pool is None:
                self._pool = await asyncpg.create_pool(
                    self._url,
                    min_size=0,
                    max_size=self._size,
                    timeout=db.CONNECT_TIMEOUT_SECONDS,
                    command_timeout=db.COMMAND_TIMEOUT_SECONDS,
                    server_settings={"application_name": self._name, "timezone": "UTC"},
                )
            return self._pool
