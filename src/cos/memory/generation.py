"""Generations: which life of the streams is the current one, and when a new one must begin.

Positions are transaction ids of one Postgres database. When that database becomes another one (restored from a dump,
or rolled back to an earlier backup), positions may come again with other records. Then the streams of old are left
as they are, and new ones with the next number begin.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import structlog

from cos.common import clock
from cos.memory import sql

if TYPE_CHECKING:
    import asyncpg
    from asyncpg.pool import PoolConnectionProxy
    from redis.asyncio import Redis

_log = structlog.get_logger("cos.generation")

_LOCK = 0x636F735F67656E  # "cos_gen"


@dataclass(frozen=True, slots=True)
class Generation:
    """One life of the streams.

    Attributes:
        number: rises by one with each life.
        database: the Postgres cluster and database that its positions come from.
    """

    number: int
    database: str


async def in_postgres(connection: asyncpg.Connection[Any] | PoolConnectionProxy[Any]) -> Generation | None:
    """Give the newest generation that Postgres knows."""
    row = await connection.fetchrow(sql.CURRENT_GENERATION)
    return None if row is None else Generation(row["number"], row["database"])


async def in_redis(redis: Redis, meta: str) -> Generation | None:
    """Give the generation that Redis holds streams of."""
    found: Any = await redis.hgetall(meta)
    if not found:
        return None
    return Generation(int(found[b"generation"]), found[b"database"].decode())


async def current(connection: asyncpg.Connection[Any], redis: Redis, meta: str) -> Generation:
    """Give the generation to add to, and begin one where Postgres and Redis do not belong together."""
    database: str = await connection.fetchval(sql.DATABASE_IDENTITY)
    known, held = await in_postgres(connection), await in_redis(redis, meta)
    reason = _reason_to_begin(known, held, database)
    if reason is not None or known is None:
        return await begin(connection, redis, meta, reason=reason or "the first", seen=known)
    if held is None or held.number < known.number:
        await _tell(redis, meta, known)
    return known


def _reason_to_begin(known: Generation | None, held: Generation | None, database: str) -> str | None:
    if known is None:
        return None
    if known.database != database:
        return "Postgres is another database now"
    if held is None:
        return None
    if held.database != database:
        return "Redis held another database's streams"
    if held.number > known.number:
        return "Postgres was set back before the last"
    return None


async def begin(
    connection: asyncpg.Connection[Any], redis: Redis, meta: str, *, reason: str, seen: Generation | None
) -> Generation:
    """Begin a new generation, above every one that Postgres or Redis has seen.

    Args:
        connection: to Postgres.
        redis: which shall hold the streams.
        meta: key that says whose streams it holds.
        reason: for whoever wonders later.
        seen: the generation that Postgres knew when the reason was found; when another relay has begun one since,
            that one is given instead.
    """
    database: str = await connection.fetchval(sql.DATABASE_IDENTITY)
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock($1::bigint)", _LOCK)
        known, held = await in_postgres(connection), await in_redis(redis, meta)
        if known is not None and known != seen:
            return known
        number = 1 + max(known.number if known else 0, held.number if held else 0)
        await connection.execute(sql.BEGIN_GENERATION, number, database, reason, clock.now())
    new = Generation(number, database)
    await _tell(redis, meta, new)
    if number > 1:
        _log.warning("generation_began", number=number, reason=reason)
    return new


async def _tell(redis: Redis, meta: str, generation: Generation) -> None:
    await redis.hset(meta, mapping={"generation": generation.number, "database": generation.database})
