"""Measures of the log and the highway: how many records, how far each stream, how far behind."""

from __future__ import annotations

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

#: Past so many events behind, the exact number is not worth its cost.
MAX_LAG_COUNT = 1_000_000


@dataclass(frozen=True, slots=True)
class StreamVitals:
    """One module's stream: its key, generation, number of entries, and the position of its last one."""

    key: str
    generation: int
    length: int
    last_position: str


@dataclass(slots=True)
class Vitals:
    """What was measured; None where it could not be, with the reason among the causes.

    Attributes:
        records: in the log, None when they were not counted.
        lag_events: committed and not announced, of all streams.
        lag_seconds: how long the oldest of them has waited.
        settled: the last position below the horizon; the start of the log when nothing is.
        settled_since: how many records settled after the position that was asked about.
        postgres_ms: how long Postgres took to answer the smallest question, in milliseconds.
        redis_ms: the same of Redis.
        postgres_answers: whether it does.
        redis_answers: whether it does.
        streams: by module.
        causes: of what could not be measured.
    """

    records: int | None = None
    lag_events: int | None = None
    lag_seconds: float | None = None
    settled: Position | None = None
    settled_since: int | None = None
    postgres_ms: float | None = None
    redis_ms: float | None = None
    postgres_answers: bool = False
    redis_answers: bool = False
    streams: dict[str, StreamVitals] = field(default_factory=dict)
    causes: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """Give it as JSON values."""
        return asdict(self)


class Gauge:
    """Measures Postgres and Redis directly, each time anew."""

    def __init__(self, *, url: str, redis: Redis, streams: Streams, redis_url: str) -> None:
        """Take what is measured; one connection is made a measurement.

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

    async def measure(self, *, count: bool = True, since: Position | None = None) -> Vitals:
        """Measure everything that answers; never raises, what does not answer is a cause.

        Args:
            count: whether the records are counted, which costs as much as there are.
            since: position after which settled records are counted, which costs as much as there are after it.
        """
        vitals = Vitals()
        try:
            await cast("Any", self._redis.ping())  # which may have to connect first
            began = clock.monotonic()
            await cast("Any", self._redis.ping())
            vitals.redis_ms = (clock.monotonic() - began) * 1000
            vitals.redis_answers = True
        except redis_client.LOST as error:
            vitals.causes.append(redis_client.connect_error(self._redis_url, error).detail)
        try:
            connection = await db.connect(self._url, name="cos gauge")
        except CosError as error:
            vitals.causes.append(error.detail)
            return vitals
        try:
            vitals.postgres_answers = True
            if count:
                vitals.records = await connection.fetchval(sql.COUNT_RECORDS)
            await self._measure(connection, vitals, since)
        except (*db.LOST, asyncpg.PostgresError) as error:
            vitals.postgres_answers = False
            vitals.causes.append(db.connect_error(self._url, error).detail)
        except RedisError as error:
            vitals.redis_answers = False
            vitals.causes.append(redis_client.connect_error(self._redis_url, error).detail)
        finally:
            await connection.close(timeout=2)
        return vitals

    async def _measure(
        self, connection: asyncpg.Connection[Any], vitals: Vitals, since: Position | None
    ) -> None:
        place = await connection.fetchrow(sql.SETTLED_TOP)
        began = clock.monotonic()
        await connection.execute("SELECT")
        vitals.postgres_ms = (clock.monotonic() - began) * 1000
        vitals.settled = START if place is None else Position(place["xact"], place["seq"])
        if since is not None:
            vitals.settled_since = await connection.fetchval(sql.COUNT_SETTLED, *since, *vitals.settled)
        life = await generation.in_postgres(connection)
        modules = [row[0] for row in await connection.fetch(sql.MODULES)]
        if not vitals.redis_answers:
            return
        number = life.number if life is not None else 0
        tops = await self._streams.tops(modules, number)
        events, oldest = 0, None
        for module, top in tops.items():
            behind, waits = await self._behind(connection, module, top)
            events += behind
            oldest = waits if oldest is None or (waits is not None and waits < oldest) else oldest
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
