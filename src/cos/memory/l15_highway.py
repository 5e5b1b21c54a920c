"""L1.5, the event highway: the relay that brings each committed record to its module's stream, once and in order.

Who is the authority: Postgres for what was recorded and in which order; each stream, by its own last id, for how far
it has come. The relay itself remembers nothing that it could not find again:

- *detached*: it knows nothing. It asks Postgres for the generation and the modules, Redis for the streams' tops,
  checks that each top is a record of this database, and begins after the earliest record that a stream lacks.
- *attached*: each turn reads what has settled after the cursor and adds it. A stream that does not end where the
  relay last saw it (a lost tail, a second relay), or any lost connection, makes it detached again.

So it may be killed at any moment, run twice, or lose Redis, and each record is in its stream once, in order.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import structlog
from redis.exceptions import RedisError

from cos.common import clock, db, messages
from cos.common import redis as redis_client
from cos.errors import CosError
from cos.memory import generation, sql
from cos.memory.position import START, Position
from cos.memory.streams import Streams

if TYPE_CHECKING:
    import asyncpg
    from redis.asyncio import Redis

    from cos.common.telemetry import Telemetry
    from cos.memory.generation import Generation

_log = structlog.get_logger("cos.relay")

MAX_BATCH_BYTES = 1024 * 1024
VERIFY_SECONDS = 1.0
STANDBY_SECONDS = 1.0
#: After a ring that found nothing settled, look again soon: of two that overlap, the first waits for the other.
FIRST_HORIZON_SECONDS = 0.002
#: After a batch, look again soon, for what stood behind the horizon while it was read.
LOOK_AGAIN_SECONDS = 0.005

#: Where a row of `sql.READ_SETTLED` has its module and its envelope.
_MODULE, _ENVELOPE = 2, 3

_SHARD_LOCK = 0x636F735F  # "cos_", the advisory lock's first half; the shard is the second


class Relay:
    """Moves settled records from the log into the streams; a background part (see `cos.common.looper`)."""

    def __init__(
        self,
        *,
        url: str,
        redis: Redis,
        redis_url: str,
        streams: Streams,
        batch: int = 1000,
        poll_seconds: float = 0.25,
        shard: int = 0,
        announced: Callable[[], None] | None = None,
        telemetry: Telemetry | None = None,
    ) -> None:
        """Take what is needed; connections are made by the turns.

        Args:
            url: of the Postgres.
            redis: client that the streams use.
            redis_url: of the client, named in messages.
            streams: where events go.
            batch: most records moved at once.
            poll_seconds: how long to wait when nothing rings.
            shard: which relay this is; only one relay of a shard works at a time.
            announced: told after each batch that was added.
            telemetry: opens a span for each event that was announced, under the event's own trace; None for none.
        """
        self._url = url
        self._redis = redis
        self._streams = streams
        self._batch = batch
        self._poll_seconds = poll_seconds
        self._shard = shard
        self._announced = announced
        self._telemetry = telemetry
        self._redis_url = redis_url
        self._connection: asyncpg.Connection[Any] | None = None
        self._settled: Any = None
        self._generation: Generation | None = None
        self._tops: dict[str, Position] = {}
        self._cursor = START
        self._verified_at = float("-inf")
        self._behind_horizon_seconds = 0.0
        self._moved = 0
        self._ahead: list[asyncpg.Record] | None = None
        self.state = "detached"

    @property
    def moved(self) -> int:
        """How many records this relay has added since it was made."""
        return self._moved

    async def turn(self) -> float:
        """Move what has settled.

        Returns:
            Seconds until the next turn is due; 0 when there is more to move.

        Raises:
            RedisUnreachable, PostgresUnreachable: in words; the next turn begins anew.
        """
        try:
            return await self._turn()
        except (RedisError, *db.LOST) as error:
            await self._detach()
            if isinstance(error, RedisError):
                raise redis_client.connect_error(self._redis_url, error) from error
            raise db.connect_error(self._url, error) from error
        except BaseException:
            await self._detach()
            raise

    async def close(self) -> None:
        """Give up the connection and the shard's lock."""
        await self._detach()

    async def _turn(self) -> float:
        connection = self._connection
        if connection is None or connection.is_closed():
            connection = self._connection = await db.connect(self._url, name="cos relay")
            self._settled = None
            await connection.execute(sql.BY_INDEX_ONLY)
            self._lose()
        if self._generation is None:
            self._ahead = None
            if not await connection.fetchval("SELECT pg_try_advisory_lock($1, $2)", _SHARD_LOCK, self._shard):
                self.state = "standby"
                return STANDBY_SECONDS
            await self._attach(connection)
        elif clock.monotonic() - self._verified_at >= VERIFY_SECONDS:
            await self._verify()
            if self.state != "running":
                return 0
        rows, self._ahead = self._ahead or await self._read(connection, self._cursor), None
        if self._is_full(rows):
            # The backlog is long: while Redis takes this batch, Postgres reads the next.
            reading = asyncio.create_task(self._read(connection, _place(rows[-1])), name="relay:read-ahead")
            try:
                await self._move(rows)
            except BaseException:
                reading.cancel()
                await asyncio.wait([reading], timeout=db.COMMAND_TIMEOUT_SECONDS)
                raise
            ahead = await reading
            self._ahead = ahead if self.state == "running" else None
            return 0
        if rows:
            await self._move(rows)
            # Whether more stands behind the horizon is asked by the next turn, when nobody waits for this one.
            return LOOK_AGAIN_SECONDS if self.state == "running" else 0
        return await self._rest(connection)

    async def _read(self, connection: asyncpg.Connection[Any], after: Position) -> list[asyncpg.Record]:
        if self._settled is None:
            self._settled = await connection.prepare(sql.READ_SETTLED)
        found: list[asyncpg.Record] = await self._settled.fetch(*after, self._batch, MAX_BATCH_BYTES)
        return found

    def _is_full(self, rows: list[asyncpg.Record]) -> bool:
        """Say whether a limit may have cut the batch short, so that more waits."""
        return len(rows) >= self._batch or sum(len(row[_ENVELOPE]) for row in rows) >= MAX_BATCH_BYTES // 4

    async def _rest(self, connection: asyncpg.Connection[Any]) -> float:
        """Say how long to wait: less while a committed record stands behind an open transaction."""
        if not await connection.fetchval(sql.WAITS_BEHIND_HORIZON, *self._cursor):
            self._behind_horizon_seconds = 0.0
            return self._poll_seconds
        wait = max(FIRST_HORIZON_SECONDS, self._behind_horizon_seconds * 2)
        self._behind_horizon_seconds = min(wait, self._poll_seconds)
        return self._behind_horizon_seconds

    async def _attach(self, connection: asyncpg.Connection[Any]) -> None:
        """Find out where each stream ends and where to go on."""
        if await connection.fetchval(sql.FROM_THE_FUTURE):
            raise CosError(
                "The log holds records of transactions that this Postgres has not reached: its rows were restored "
                "into a younger cluster, and nothing is announced. Stop COS and run cos doctor --fix; on a "
                "Postgres of your own, restore a copy of its files instead."
            )
        life = await generation.current(connection, self._redis, self._streams.meta)
        modules = [row[0] for row in await connection.fetch(sql.MODULES)]
        tops = await self._streams.tops(modules, life.number)
        for module, top in tops.items():
            if top != START and not await self._is_ours(connection, module, top, life.number):
                life = await generation.begin(
                    connection,
                    self._redis,
                    self._streams.meta,
                    reason=f"the stream of {module} ends with a record that Postgres does not have",
                    seen=life,
                )
                tops = await self._streams.tops(modules, life.number)
                break
        # All of it as of one moment: what settles between two questions could lie before what the second one finds.
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            # A module whose first record was committed just now: another relay may have passed it already.
            for row in await connection.fetch(sql.MODULES):
                tops.setdefault(row[0], START)
            self._cursor = await self._first_lacking(connection, tops)
        self._tops = tops
        self._generation = life
        self._verified_at = clock.monotonic()
        self.state = "running"

    async def _is_ours(
        self, connection: asyncpg.Connection[Any], module: str, top: Position, number: int
    ) -> bool:
        record_id = await connection.fetchval(sql.RECORD_AT, *top, module)
        if record_id is None:
            return False
        entry_id = await self._streams.entry_id(module, number, top)
        return entry_id is None or entry_id == record_id

    @staticmethod
    async def _first_lacking(connection: asyncpg.Connection[Any], tops: dict[str, Position]) -> Position:
        """Give the position just before the earliest settled record that its stream lacks.

        Where none is lacking it is the highest top: what is not settled yet has a higher transaction id than anything
        that was ever below the horizon.
        """
        first: Position | None = None
        for module, top in tops.items():
            row = await connection.fetchrow(sql.FIRST_SETTLED_AFTER, module, *top)
            if row is not None:
                found = Position(row["xact"], row["seq"] - 1)
                first = found if first is None else min(first, found)
        return first if first is not None else max(tops.values(), default=START)

    async def _verify(self) -> None:
        """See, while nothing else would show it, whether Redis still has what it was given."""
        life = self._generation
        held = await generation.in_redis(self._redis, self._streams.meta)
        tops = await self._streams.tops(list(self._tops), life.number) if life is not None else {}
        self._verified_at = clock.monotonic()
        if held != life or tops != self._tops:
            _log.warning("streams_changed", generation=life.number if life else None)
            self._lose()

    async def _move(self, rows: list[asyncpg.Record]) -> None:
        life = self._generation
        if life is None:
            return
        last = _place(rows[-1])
        batches = list(self._by_module(rows))
        elsewhere = await self._streams.add(batches, life.number)
        for module, _, events in batches:
            if module not in elsewhere:
                self._tops[module] = events[-1][0]
                self._moved += len(events)
        if elsewhere:
            _log.warning("streams_ended_elsewhere", modules=sorted(elsewhere))
            self._lose()
            return
        self._cursor = last
        if self._telemetry is not None:
            for _, _, events in batches:
                self._trace(self._telemetry, events)
        if self._announced is not None:
            self._announced()
        self._behind_horizon_seconds = 0.0

    @staticmethod
    def _trace(telemetry: Telemetry, events: Sequence[tuple[Position, str]]) -> None:
        for position, text in events:
            event = messages.decode(text)
            if event.traceparent is not None:
                with telemetry.span("announce", parent=event.traceparent, kind="producer") as span:
                    span.set_attribute("cos.position", str(position))

    def _by_module(
        self, rows: Iterable[asyncpg.Record]
    ) -> Iterable[tuple[str, Position, list[tuple[Position, str]]]]:
        batches: dict[str, list[tuple[Position, str]]] = {}
        for row in rows:
            position = Position(row[0], row[1])
            module = row[_MODULE]
            # While some stream is refilled, the others already have what is read again for it.
            if position > self._tops.get(module, START):
                batches.setdefault(module, []).append((position, row[_ENVELOPE]))
        for module, events in batches.items():
            yield module, self._tops.get(module, START), events

    def _lose(self) -> None:
        """Forget where the streams stand; the next turn finds out."""
        self._generation = None
        self._ahead = None
        self.state = "detached"

    async def _detach(self) -> None:
        self._lose()
        connection, self._connection = self._connection, None
        if connection is not None and not connection.is_closed():
            with suppress(*db.LOST, asyncio.CancelledError):
                await connection.close(timeout=2)


def _place(row: Any) -> Position:
    return Position(row[0], row[1])
