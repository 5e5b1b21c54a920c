"""Measures of the log and the highway: how many records, how far each stream, how far behind."""

from __future__ import annotations

import asyncio
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any, cast

import asyncpg
from redis.asyncio import Redis
from redis.exceptions import RedisError

from cos.common import clock, db
from cos.common import redis as redis_client
from cos.errors import CosError
from cos.memory import generation, sql
from cos.memory.position import START, Position
from cos.memory.streams import Streams

MEASURE_TIMEOUT_SECONDS = 3.0
#: A connection that stands says nothing of whether Postgres takes new ones, so it is made anew now and then.
RECONNECT_SECONDS = 10.0
#: A transaction that has been open for less holds nobody back that a person would notice.
HELD_SECONDS = 2.0
#: Past so many events behind, the exact number is not worth its cost.
MAX_LAG_COUNT = 1_000_000


@dataclass(frozen=True, slots=True)
class StreamVitals:
    """One module's stream: its key, generation, number of entries, and the position of its last one."""

    key: str
    generation: int
    length: int
    last_position: str


@dataclass(frozen=True, slots=True)
class Holder:
    """What holds the relay's horizon back: a session that has written and not ended, or a prepared transaction.

    Attributes:
        pid: of the session, None for a prepared transaction.
        name: of the application, or of the prepared transaction.
        user: whose it is.
        database: in which; any of the cluster's holds it back.
        state: what the session does, such as `idle in transaction`.
        open_seconds: how long the transaction has been open.
    """

    pid: int | None
    name: str
    user: str | None
    database: str | None
    state: str | None
    open_seconds: float


@dataclass(frozen=True, slots=True)
class DeadVitals:
    """The dead letters of one group: how many wait for somebody, since when, and until when."""

    size: int
    oldest: datetime
    newest: datetime


@dataclass(slots=True)
class Vitals:
    """What was measured; None where it could not be, with the reason among the causes."""

    records: int | None = None
    lag_events: int | None = None
    lag_seconds: float | None = None
    postgres_answers: bool = False
    redis_answers: bool = False
    postgres_ms: float | None = None
    redis_ms: float | None = None
    holder: Holder | None = None
    log_bytes: int | None = None
    database_bytes: int | None = None
    streams: dict[str, StreamVitals] = field(default_factory=dict)
    dead_letters: dict[str, DeadVitals] = field(default_factory=dict)
    causes: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """Give it as JSON values."""
        return asdict(self)


class Gauge:
    """Measures Postgres and Redis directly, each time anew, over a connection of its own that it keeps."""

    def __init__(self, *, url: str, redis: Redis, streams: Streams, redis_url: str) -> None:
        """Take what is measured; it connects when first asked, and is to be closed.

        Args:
            url: of the Postgres.
            redis: client for the streams.
            streams: their names.
            redis_url: of that client, named in causes.
        """
        self._url = url
        self._redis = redis
        self._streams = streams
        self._redis_url = redis_url
        self._lock = asyncio.Lock()
        self._connection: asyncpg.Connection[Any] | None = None
        self._connected_at = float("-inf")
        self._database: str | None = None
        self._counted = 0
        self._counted_to = START

    async def close(self) -> None:
        """Give up the connection."""
        connection, self._connection = self._connection, None
        if connection is not None and not connection.is_closed():
            connection.terminate()

    async def measure(self) -> Vitals:
        """Measure everything that answers within 3 s; never raises, what does not answer is a cause."""
        vitals = Vitals()
        async with self._lock:
            await asyncio.gather(self._measure_redis(vitals), self._measure_postgres(vitals))
            if vitals.redis_answers and vitals.postgres_answers:
                await self._measure_streams(vitals)
        return vitals

    async def _measure_redis(self, vitals: Vitals) -> None:
        began = clock.monotonic()
        try:
            async with asyncio.timeout(MEASURE_TIMEOUT_SECONDS):
                await cast("Any", self._redis.ping())
        except redis_client.LOST as error:
            vitals.causes.append(redis_client.connect_error(self._redis_url, _named(error)).detail)
            return
        vitals.redis_answers = True
        vitals.redis_ms = (clock.monotonic() - began) * 1000

    async def _measure_postgres(self, vitals: Vitals) -> None:
        try:
            async with asyncio.timeout(MEASURE_TIMEOUT_SECONDS):
                connection = await self._connected()
                began = clock.monotonic()
                await self._count(connection, vitals)
                vitals.postgres_ms = (clock.monotonic() - began) * 1000
                vitals.postgres_answers = True
                holder = await connection.fetchrow(sql.HOLDS_HORIZON)
                if holder is not None and (holder["open_seconds"] or 0.0) >= HELD_SECONDS:
                    vitals.holder = Holder(*tuple(holder)[:6])
                vitals.dead_letters = {
                    row["group_name"]: DeadVitals(row["size"], row["oldest"], row["newest"])
                    for row in await connection.fetch(sql.DEAD_LETTERS)
                }
                [sizes] = await connection.fetch(sql.SIZES)
                vitals.log_bytes, vitals.database_bytes = sizes["log_bytes"], sizes["all_bytes"]
        except (CosError, *db.LOST, asyncpg.PostgresError) as error:
            await self.close()
            vitals.postgres_answers = False
            vitals.causes.append(db.connect_error(self._url, _named(error)).detail)

    async def _connected(self) -> asyncpg.Connection[Any]:
        connection = self._connection
        if clock.monotonic() - self._connected_at >= RECONNECT_SECONDS:
            await self.close()
            connection = None
        if connection is None or connection.is_closed():
            connection = self._connection = await db.connect(self._url, name="cos gauge")
            self._connected_at = clock.monotonic()
        return connection

    async def _count(self, connection: asyncpg.Connection[Any], vitals: Vitals) -> None:
        database = await connection.fetchval(sql.DATABASE_IDENTITY)
        if database != self._database:
            self._database, self._counted, self._counted_to = database, 0, START
        [row] = await connection.fetch(sql.COUNT_AFTER, *self._counted_to)
        last = START if row["xact"] is None else Position(row["xact"], row["seq"])
        if last < self._counted_to:  # the log ends before what was counted: this database was set back
            self._counted, self._counted_to = 0, START
            [row] = await connection.fetch(sql.COUNT_AFTER, *START)
        self._counted += row["settled"]
        self._counted_to = last
        vitals.records = self._counted + row["waiting"]

    async def _measure_streams(self, vitals: Vitals) -> None:
        connection = self._connection
        if connection is None:
            return
        try:
            async with asyncio.timeout(MEASURE_TIMEOUT_SECONDS):
                await self._measure(connection, vitals)
        except RedisError as error:
            vitals.redis_answers = False
            vitals.causes.append(redis_client.connect_error(self._redis_url, error).detail)
        except (*db.LOST, asyncpg.PostgresError) as error:
            await self.close()
            vitals.postgres_answers = False
            vitals.causes.append(db.connect_error(self._url, _named(error)).detail)

    async def _measure(self, connection: asyncpg.Connection[Any], vitals: Vitals) -> None:
        life = await generation.in_postgres(connection)
        modules = [row[0] for row in await connection.fetch(sql.MODULES)]
        number = life.number if life is not None else 0
        tops = await self._streams.tops(modules, number)
        events, oldest = 0, None
        for module, top in tops.items():
            behind, since = await self._behind(connection, module, top)
            events += behind
            oldest = since if oldest is None or (since is not None and since < oldest) else oldest
            vitals.streams[module] = StreamVitals(
                key=self._streams.key(module, number),
                generation=number,
                length=await self._streams.length(module, number),
                last_position=str(top),
            )
        vitals.lag_events = events
        vitals.lag_seconds = 0.0 if oldest is None else max(0.0, (clock.now() - oldest).total_seconds())

    @staticmethod
    async def _behind(
        connection: asyncpg.Connection[Any], module: str, top: Position
    ) -> tuple[int, datetime | None]:
        row = await connection.fetchrow(sql.LAG_AFTER, module, *top, MAX_LAG_COUNT)
        return (0, None) if row is None else (row["events"], row["oldest"])


def _named(error: Exception) -> Exception:
    """Give words to a timeout of ours, which has none."""
    if isinstance(error, TimeoutError) and not str(error):
        return TimeoutError(f"nothing came within {MEASURE_TIMEOUT_SECONDS:g} s")
    return error
