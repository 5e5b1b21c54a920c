"""A lane of the recorder: one connection to Postgres, and how a batch is written over it."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any
from uuid import UUID

import msgspec

from cos.common import db, ids
from cos.memory import sql
from cos.memory.event import NewEvent
from cos.memory.l1_log import Recorded, row_of, rows_of
from cos.memory.position import Position

if TYPE_CHECKING:
    from collections.abc import Iterable

    import asyncpg

WRITE_TIMEOUT_SECONDS = 20.0


class Lane:
    """One connection with its prepared statements; opened when needed, again when lost."""

    def __init__(self, url: str) -> None:
        """Take the URL of the Postgres; nothing connects yet."""
        self._url = url
        self._connection: asyncpg.Connection[Any] | None = None
        self._one: Any = None
        self._many: Any = None

    async def close(self) -> None:
        """Close the connection, if it is open."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(*db.LOST):
                await connection.close(timeout=2)

    @property
    def is_open(self) -> bool:
        """Say whether the connection stands, as far as this side knows."""
        return self._connection is not None and not self._connection.is_closed()

    async def write(
        self, events: list[NewEvent], *, timeout_seconds: float = WRITE_TIMEOUT_SECONDS
    ) -> dict[UUID, Recorded]:
        """Write the events in one transaction; gives what became of each, by its id.

        Args:
            events: with ids of their own; those that are there already are not written again.
            timeout_seconds: most that Postgres may take; never more than 20 s.
        """
        connection = self._connection
        if connection is None or connection.is_closed():
            connection = await self.open()
        most_seconds = min(timeout_seconds, WRITE_TIMEOUT_SECONDS)
        if any(event.prompt is not None for event in events):
            async with connection.transaction():
                found = await self._insert(connection, events, most_seconds)
                await self._insert_prompts(connection, events, found)
        else:
            found = await self._insert(connection, events, most_seconds)
        return found

    async def open(self) -> asyncpg.Connection[Any]:
        """Connect and prepare the statements."""
        connection = await db.connect(self._url, name="cos recorder")
        try:
            self._one = await connection.prepare(sql.INSERT_ONE)
            self._many = await connection.prepare(sql.INSERT_MANY)
        except BaseException:  # a caller who gave up, too: nobody else would close it
            connection.terminate()
            raise
        self._connection = connection
        return connection

    async def _insert(
        self, connection: asyncpg.Connection[Any], events: list[NewEvent], most_seconds: float
    ) -> dict[UUID, Recorded]:
        if len(events) == 1:
            event = events[0]
            row = await self._one.fetchrow(*row_of(event), timeout=most_seconds)
            if row is not None:
                return {event.id: Recorded(event.id, Position(row[0], row[1]))}
            found: dict[UUID, Recorded] = {}
        else:
            rows = await self._many.fetch(*rows_of(events), timeout=most_seconds)
            found = {row[0]: Recorded(row[0], Position(row[1], row[2])) for row in rows}
            if len(found) == len(events):
                return found
        missing = [event for event in events if event.id not in found]
        found.update(await _existing(connection, missing))
        return found

    async def _insert_prompts(
        self, connection: asyncpg.Connection[Any], events: list[NewEvent], found: dict[UUID, Recorded]
    ) -> None:
        rows = []
        for event in events:
            trace, recorded = event.prompt, found[event.id]
            if trace is not None and recorded.id == event.id and recorded.prompt_id is None:
                prompt_id = ids.uuid7()
                rows.append(
                    (
                        prompt_id,
                        event.id,
                        trace.prompt,
                        trace.response,
                        trace.model,
                        trace.latency_ms,
                        trace.tokens_in,
                        trace.tokens_out,
                    )
                )
                found[event.id] = Recorded(recorded.id, recorded.position, prompt_id=prompt_id)
            elif recorded.duplicate and recorded.id in found:
                # The first one stands in this batch: its trace is written in this moment.
                found[event.id] = msgspec.structs.replace(recorded, prompt_id=found[recorded.id].prompt_id)
        if rows:
            await connection.execute(
                sql.INSERT_PROMPTS, *zip(*rows, strict=True), timeout=WRITE_TIMEOUT_SECONDS
            )


async def _existing(connection: asyncpg.Connection[Any], events: Iterable[NewEvent]) -> dict[UUID, Recorded]:
    """Find the records that stood in the way: our own, written before the connection was lost, or an earlier one."""
    missing = list(events)
    keys = [event.idempotency_key for event in missing if event.idempotency_key is not None]
    rows = await connection.fetch(
        sql.FIND_EXISTING, [event.id for event in missing], keys, timeout=WRITE_TIMEOUT_SECONDS
    )
    by_id = {row["id"]: row for row in rows}
    by_key = {row["idempotency_key"]: row for row in rows if row["idempotency_key"] is not None}
    found: dict[UUID, Recorded] = {}
    for event in missing:
        own = by_id.get(event.id)
        row = own if own is not None else by_key[event.idempotency_key]
        position = Position(row["xact"], row["seq"])
        found[event.id] = Recorded(row["id"], position, duplicate=own is None, prompt_id=row["prompt_id"])
    return found
