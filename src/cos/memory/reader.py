"""Reading the log: one record, or pages of it by position."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

import msgspec
from sqlalchemy import Text, cast, func, literal, select, tuple_

from cos.common.messages import Envelope
from cos.memory.position import Position
from cos.memory.tables import Xid8, prompt_trace, record

if TYPE_CHECKING:
    from uuid import UUID

    from sqlalchemy import Select

    from cos.common.session import Readable

Order = Literal["asc", "desc"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """Which records a page shows.

    Attributes:
        module: of that module only.
        type: of that type only; a trailing `*` matches every type that begins so.
        subject: about that subject only.
        since: that happened at this time or later.
        until: that happened before this time.
        after: with a higher position only.
        before: with a lower position only.
        order: oldest first (asc) or newest first (desc), by position.
        limit: most records a page.
        settled: leave out records that an older open transaction might still come before; who follows the log by
            position needs this, so that nothing can appear behind it.
    """

    module: str | None = None
    type: str | None = None
    subject: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    after: Position | None = None
    before: Position | None = None
    order: Order = "asc"
    limit: int = 100
    settled: bool = False


_COLUMNS = (
    record.c.xact,
    record.c.seq,
    record.c.id,
    record.c.module,
    record.c.type,
    record.c.subject,
    record.c.level,
    cast(record.c.data, Text).label("data"),
    record.c.request_id,
    record.c.trace_id,
    record.c.traceparent,
    record.c.time,
    record.c.recorded_at,
    record.c.idempotency_key,
)

_PLACE = tuple_(record.c.xact, record.c.seq)


def envelope_of(row: Any) -> Envelope:
    """Give the envelope of a row with the columns of `_COLUMNS`; `sql.ENVELOPE_TEXT` makes the same in Postgres."""
    return Envelope(
        specversion="1.0",
        id=row[2],
        source=f"/cos/{row[3]}",
        type=row[4],
        time=row[11],
        subject=row[5],
        datacontenttype="application/json",
        data=msgspec.Raw(row[7].encode()),
        module=row[3],
        level=row[6],
        position=f"{row[0]}-{row[1]}",
        recordedtime=row[12],
        requestid=row[8],
        traceid=row[9],
        traceparent=row[10],
        idempotencykey=row[13],
    )


class Page(msgspec.Struct, frozen=True):
    """Some events, and the position to go on from: None when these were the last."""

    events: list[Envelope]
    next: str | None


async def page(session: Readable, query: Query) -> Page:
    """Read one page; its cost does not grow with how deep in the log it lies."""
    rows = (await session.execute(_statement(query).limit(query.limit + 1))).all()
    more = len(rows) > query.limit
    events = [envelope_of(row) for row in rows[: query.limit]]
    return Page(events, events[-1].position if more else None)


async def get(session: Readable, record_id: UUID) -> tuple[Envelope, dict[str, Any] | None] | None:
    """Read one record and its prompt trace; None when there is no such record."""
    row = (await session.execute(select(*_COLUMNS).where(record.c.id == record_id))).one_or_none()
    if row is None:
        return None
    trace = (
        await session.execute(select(prompt_trace).where(prompt_trace.c.record_id == record_id))
    ).one_or_none()
    if trace is None:
        return envelope_of(row), None
    members = ("id", "prompt", "response", "model", "latency_ms", "tokens_in", "tokens_out")
    return envelope_of(row), {name: value for name in members if (value := getattr(trace, name)) is not None}


def _statement(query: Query) -> Select[Any]:
    statement = select(*_COLUMNS)
    if query.module is not None:
        statement = statement.where(record.c.module == query.module)
    if query.type is not None and query.type.endswith("*"):
        statement = statement.where(record.c.type.startswith(query.type[:-1], autoescape=True))
    elif query.type is not None:
        statement = statement.where(record.c.type == query.type)
    if query.subject is not None:
        statement = statement.where(record.c.subject == query.subject)
    if query.since is not None:
        statement = statement.where(record.c.time >= query.since)
    if query.until is not None:
        statement = statement.where(record.c.time < query.until)
    return _placed(statement, query)


def _placed(statement: Select[Any], query: Query) -> Select[Any]:
    """Restrict and order by position."""
    if query.after is not None:
        statement = statement.where(_PLACE > _bound(query.after))  # noqa: SIM300  (a column is no constant)
    if query.before is not None:
        statement = statement.where(_PLACE < _bound(query.before))  # noqa: SIM300  (as above)
    if query.settled:
        statement = statement.where(record.c.xact < func.pg_snapshot_xmin(func.pg_current_snapshot()))
    if query.order == "desc":
        return statement.order_by(record.c.xact.desc(), record.c.seq.desc())
    return statement.order_by(record.c.xact, record.c.seq)


def _bound(position: Position) -> Any:
    return tuple_(cast(literal(position.xact, Xid8()), Xid8()), literal(position.seq))
