"""L1, the durable log: writing into a caller's transaction."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

import asyncpg
import msgspec
from sqlalchemy.dialects.postgresql.asyncpg import AsyncAdapt_asyncpg_dbapi
from sqlalchemy.exc import DBAPIError

from cos.common import ids
from cos.errors import BadInput, Conflict, DiskFull, PostgresUnreachable
from cos.memory import sql
from cos.memory.event import NewEvent
from cos.memory.position import Position

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession
    from sqlalchemy.orm import Session

_encoder = msgspec.json.Encoder()


class Recorded(msgspec.Struct, frozen=True):
    """What became of an event: its record, or the one that its idempotency key had already made.

    Attributes:
        id: of the record.
        position: of the record in the log.
        duplicate: whether the record was there before.
        prompt_id: of the record's prompt trace, None when it has none.
    """

    id: UUID
    position: Position
    duplicate: bool = False
    prompt_id: UUID | None = None


def row_of(event: NewEvent) -> tuple[Any, ...]:
    """Give the event as the arguments of the insert statements."""
    return (
        event.id,
        event.module,
        event.type,
        event.subject,
        event.level,
        bytes(event.data).decode(),
        event.request_id,
        event.trace_id,
        event.traceparent,
        event.time,
        event.recorded_at,
        event.idempotency_key,
    )


class _Head(msgspec.Struct, frozen=True):
    """An event without its data and prompt, its members named like the columns."""

    id: UUID
    module: str
    type: str
    subject: str | None
    level: str
    request_id: str | None
    trace_id: str | None
    traceparent: str | None
    time: datetime
    recorded_at: datetime
    idempotency_key: str | None


def rows_of(events: Sequence[NewEvent]) -> tuple[str, list[str]]:
    """Give the events as the arguments of `sql.INSERT_MANY`."""
    heads = [
        _Head(
            event.id,
            event.module,
            event.type,
            event.subject,
            event.level,
            event.request_id,
            event.trace_id,
            event.traceparent,
            event.time,
            event.recorded_at,
            event.idempotency_key,
        )
        for event in events
    ]
    return _encoder.encode(heads).decode(), [bytes(event.data).decode() for event in events]


async def append(session: AsyncSession, event: NewEvent, *, ordered: bool = False) -> Recorded:
    """Write one event in the session's transaction; never commits.

    Args:
        session: whose transaction, or innermost savepoint, the record joins.
        event: checked by `new_event`.
        ordered: take the lock of the event's module and subject first, so that positions follow the order of commits
            for it. Only possible as the first write of a transaction.

    Returns:
        The record that was written, or that has the event's idempotency key.

    Raises:
        Conflict: `ordered`, and the transaction has already written.
        BadInput: Postgres refused the event.
        PostgresUnreachable: the connection was lost; the transaction is rolled back.
        DiskFull: Postgres has no room for it; the transaction is rolled back.
    """
    return await session.run_sync(append_now, event, ordered=ordered)


def append_now(session: Session, event: NewEvent, *, ordered: bool = False) -> Recorded:
    """Do what `append` does, for who holds the session's synchronous side: a hook of its commit."""
    # Over the driver's own cursor: the statements are fixed, so SQLAlchemy's compiling would be pure cost.
    connection = session.connection()
    cursor = connection.connection.cursor()
    try:
        if ordered:
            cursor.execute(sql.LOCK_SUBJECT, (f"{event.module}\x1f{event.subject or ''}",))
            locked = cursor.fetchone()
            if locked is not None and locked[0]:
                raise Conflict(
                    "An ordered record must be the first write of its transaction; log it before anything else."
                )
        cursor.execute(sql.INSERT_ONE, row_of(event))
        written = cursor.fetchone()
        if written is None:
            return _existing(cursor, event)
        prompt_id = _append_prompt(cursor, event)
    except AsyncAdapt_asyncpg_dbapi.Error as error:
        raise _as_cos_error(connection, error) from error
    finally:
        cursor.close()
    return Recorded(id=event.id, position=Position(*written), prompt_id=prompt_id)


def _append_prompt(cursor: Any, event: NewEvent) -> UUID | None:
    trace = event.prompt
    if trace is None:
        return None
    prompt_id = ids.uuid7()
    values = (
        prompt_id,
        event.id,
        trace.prompt,
        trace.response,
        trace.model,
        trace.latency_ms,
        trace.tokens_in,
        trace.tokens_out,
    )
    cursor.execute(sql.INSERT_PROMPTS, tuple([value] for value in values))
    return prompt_id


def _existing(cursor: Any, event: NewEvent) -> Recorded:
    cursor.execute(sql.FIND_EXISTING, ([event.id], [event.idempotency_key]))
    found = cursor.fetchone()
    if found is None:
        # Only under REPEATABLE READ or SERIALIZABLE: the first record is committed, yet not in this snapshot.
        raise Conflict(
            f"Another transaction recorded the idempotency key {event.idempotency_key!r} at the same time; "
            "run this transaction again."
        )
    record_id, xact, seq, _, prompt_id = found
    return Recorded(id=record_id, position=Position(xact, seq), duplicate=True, prompt_id=prompt_id)


def _as_cos_error(connection: Any, error: Exception) -> Exception:
    driver = error.__cause__
    if isinstance(driver, asyncpg.DataError | asyncpg.IntegrityConstraintViolationError):
        return BadInput(f"Postgres refused the event: {driver}.")
    if isinstance(driver, asyncpg.DiskFullError):
        return DiskFull("The disk of Postgres is full; free some space, nothing recorded is lost.")
    if connection.dialect.is_disconnect(error, None, None) or isinstance(driver, OSError):
        connection.invalidate(error)
        return PostgresUnreachable("The connection to Postgres was lost; the transaction is rolled back.")
    return DBAPIError.instance(None, None, error, AsyncAdapt_asyncpg_dbapi.Error, dialect=connection.dialect)
