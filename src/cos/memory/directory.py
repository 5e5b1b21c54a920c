"""Which streams there are now: the generation and the modules, asked of Postgres and remembered for a moment."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

import asyncpg

from cos.common import clock, db
from cos.errors import CosError
from cos.memory import generation, sql

if TYPE_CHECKING:
    from cos.common.pool import Pool

REFRESH_SECONDS = 0.5
PATIENCE_SECONDS = 0.5
#: After an answer that did not come the next question waits so much longer.
AWAY_SECONDS = 3.0


class Directory:
    """One for all groups of a process. While Postgres is away it gives what it knew last."""

    def __init__(self, *, pool: Pool) -> None:
        """Take the connections."""
        self._pool = pool
        self._known: tuple[int, tuple[str, ...]] | None = None
        self._asked_at = float("-inf")
        self._asking = asyncio.Lock()

    async def current(self) -> tuple[int, tuple[str, ...]]:
        """Give the current generation (0 before the first) and the modules that have records.

        Raises:
            CosError: Postgres does not answer, and never has.
        """
        if self._known is not None and clock.monotonic() - self._asked_at < REFRESH_SECONDS:
            return self._known
        async with self._asking:
            if self._known is None:
                self._known = await self._ask()
                self._asked_at = clock.monotonic()
            elif clock.monotonic() - self._asked_at >= REFRESH_SECONDS:
                # Who reads must not wait for a Postgres that is away or frozen: what was known goes on for a while.
                self._asked_at = clock.monotonic() + AWAY_SECONDS
                with suppress(CosError, TimeoutError):
                    async with asyncio.timeout(PATIENCE_SECONDS):
                        self._known = await self._ask()
                        self._asked_at = clock.monotonic()
            return self._known

    async def _ask(self) -> tuple[int, tuple[str, ...]]:
        async with self._pool.connection() as connection:
            try:
                life = await generation.in_postgres(connection)
                rows = await connection.fetch(sql.MODULES)
            except (*db.LOST, asyncpg.PostgresError) as error:
                raise self._pool.explain(error) from error
        return (0 if life is None else life.number, tuple(row[0] for row in rows))
