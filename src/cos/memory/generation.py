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


async def in_postgres(connection: asyncpg.Connection[Any]) -> Generation | None:
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
    if known is None:
        return await begin(connection, redis, meta, reason="the first", database=database)
    if known.database != database:
        return await begin(connection, redis, meta, reason="Postgres is another database now", database=database)
    if held is None:
        await _tell(redis, meta, known)
        return known
    if held.database != database:
        return await begin(connection, redis, meta, reason="Redis held another database's streams", database=database)
    if held.number > known.number:
        return await begin(connection, redis, meta, reason="Postgres was set back before the last", database=database)
    if held.number < known.number:
        await _tell(redis, meta, known)
    return known


async def begin(
    connection: asyncpg.Connection[Any], redis: Redis, meta: str, *, reason: str, database: str | None = None
) -> Generation:
    """Begin a new generation, above every one that Postgres or Redis has seen."""
    if database is None:
        database = await connection.fetchval(sql.DATABASE_IDENTITY)
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock($1::bigint)", _LOCK)
        known, held = await in_postgres(connection), await in_redis(redis, meta)
        number = 1 + max(known.number if known else 0, held.number if held else 0)
        await connection.execute(sql.BEGIN_GENERATION, number, database, reason, clock.now())
    new = Generation(number, database)
    await _tell(redis, meta, new)
    if number > 1:
        _log.warning("generation_began", number=number, reason=reason)
    return new


async def _tell(redis: Redis, meta: str, generation: Generation) -> None:
    await redis.hset(meta, mapping={"generation": generation.number, "database": generation.database})
