"""The bodies of records that the log has named: from Redis where it has them, from the log where it does not."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING
from uuid import UUID

import msgspec

from cos.common import messages
from cos.common.circuit_breaker import BreakerOpen, CircuitBreaker
from cos.common.messages import Envelope
from cos.common.redis import LOST
from cos.common.wire import Wire
from cos.memory import highway_sql

if TYPE_CHECKING:
    import asyncpg
    from redis.asyncio import Redis

    from cos.common.pool import Connection
    from cos.memory.streams import Streams

#: A Redis that is slower than this is not worth to wait for: the log has everything.
PATIENCE_SECONDS = 0.5
RESET_SECONDS = 5.0
#: Fewer than this are read from the log at once: a second server would only add to the way.
_WORTH_ASKING = 20


class Bodies:
    """Reads envelopes; what Redis gives counts only where it is the record that the log has at that position."""

    def __init__(self, *, redis: Redis, streams: Streams) -> None:
        """Take where streams are."""
        self.from_redis = 0
        self.from_log = 0
        self._streams = streams
        self._wire = Wire(redis=redis)
        self._using = asyncio.Lock()
        self._breaker = CircuitBreaker(
            name="Redis", failures=LOST, failure_threshold=1, reset_seconds=RESET_SECONDS
        )

    async def of(self, connection: Connection, wanted: Sequence[asyncpg.Record]) -> list[Envelope]:
        """Give the envelopes of records, in the order given; each row has xact, seq, id and module."""
        found: dict[UUID, Envelope] = {}
        if len(wanted) >= _WORTH_ASKING:
            try:
                found = await self._breaker.call(lambda: self._ask(wanted))
            except (BreakerOpen, *LOST):
                found = {}
        self.from_redis += len(found)
        missing = [row["id"] for row in wanted if row["id"] not in found]
        if missing:
            self.from_log += len(missing)
            for record_id, text in await connection.fetch(highway_sql.ENVELOPES, missing):
                found[record_id] = messages.decode(text)
        return [found[row["id"]] for row in wanted]

    async def close(self) -> None:
        """Close the connection to Redis."""
        await self._wire.close()

    async def _ask(self, wanted: Sequence[asyncpg.Record]) -> dict[UUID, Envelope]:
        async with asyncio.timeout(PATIENCE_SECONDS), self._using:
            number = await self._streams.generation()
            if number is None:
                return {}
            ends: dict[str, list[str]] = {}
            for row in wanted:
                ends.setdefault(row["module"], []).append(f"{row['xact']}-{row['seq']}")
            found: dict[UUID, Envelope] = {}
            for module, places in ends.items():
                key = self._streams.key(module, number)
                entries = await self._wire.call(
                    "XRANGE", key, places[0], places[-1], "COUNT", 2 * len(places)
                )
                for _, fields in entries:
                    envelope = _decoded(fields[1])
                    if envelope is not None:
                        found[envelope.id] = envelope
        positions = {row["id"]: f"{row['xact']}-{row['seq']}" for row in wanted}
        return {
            record_id: envelope
            for record_id, envelope in found.items()
            if positions.get(record_id) == envelope.position
        }


def _decoded(body: bytes) -> Envelope | None:
    try:
        return messages.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
