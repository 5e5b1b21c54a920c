"""What the page reads of the log: the newest events, a filter's matches in bounded steps; each read by an index."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from sqlalchemy import BigInteger, Text, case, cast, func, literal, select, text, tuple_

from cos.memory import sql
from cos.memory.position import Position
from cos.memory.tables import Xid8, record

if TYPE_CHECKING:
    from sqlalchemy import Select
    from sqlalchemy.ext.asyncio import AsyncSession

#: Rows a page shows.
PAGE = 50
#: Records that one page of a filter looks through; there is no index on what a person may filter by, so this is what
#: keeps a page's cost the same however large the log is.
WINDOW = 10_000
#: The same where each record's data must be read for it.
DATA_WINDOW = 3_000
#: Stored bytes past which a row shows no excerpt: it would have to be read whole for it.
_LARGE = 8192
_EXCERPT = 400
_PLACE = tuple_(record.c.xact, record.c.seq)


@dataclass(frozen=True, kw_only=True)
class Filter:
    """Which events are shown; empty text means all.

    Attributes:
        module: of that module only.
        type: of that type; with a trailing `*` of every type that begins so.
        subject: about that subject; with a trailing `*` about every one that begins so.
        holds: whose data, as JSON text, holds this, whatever its case.
        before: with a lower position only.
    """

    module: str = ""
    type: str = ""
    subject: str = ""
    holds: str = ""
    before: Position | None = None

    @property
    def searches(self) -> bool:
        """Say whether rows must be looked at one by one."""
        return bool(self.type or self.subject or self.holds)

    @property
    def window(self) -> int:
        """Give how many records one page looks through."""
        return min(DATA_WINDOW, WINDOW) if self.holds else WINDOW


@dataclass(frozen=True, slots=True)
class Row:
    """One event in a list; the excerpt is None where the data is large."""

    id: UUID
    position: Position
    module: str
    type: str
    subject: str | None
    level: str
    time: datetime
    excerpt: str | None


@dataclass(frozen=True, kw_only=True)
class Found:
    """A page of rows; `older` is where the next begins, None at the log's end.

    Attributes:
        rows: newest first.
        older: position that the next page takes as `before`.
        searched_out: whether the page ended because it had looked through so many records, not because it was full.
    """

    rows: list[Row]
    older: Position | None
    searched_out: bool = False


async def newest(session: AsyncSession) -> Position | None:
    """Give the last position of the log, None when it is empty; one step into the index."""
    statement = (
        select(record.c.xact, record.c.seq).order_by(record.c.xact.desc(), record.c.seq.desc()).limit(1)
    )
    found = (await session.execute(statement)).one_or_none()
    return None if found is None else Position(int(found.xact), found.seq)


async def modules(session: AsyncSession) -> list[str]:
    """Give the modules that have recorded something; its cost is their number."""
    return [row[0] for row in await session.execute(text(sql.MODULES))]


async def find(session: AsyncSession, wanted: Filter, *, limit: int = PAGE) -> Found:
    """Give the newest rows that match, below `before`; looks through `wanted.window` records at most."""
    floor = await _floor(session, wanted) if wanted.searches else None
    statement = _matching(_columns(), wanted)
    if floor is not None:
        statement = statement.where(_PLACE >= _bound(floor))  # noqa: SIM300  (a column is no constant)
    found = (await session.execute(statement.limit(limit + 1))).all()
    rows = [_row(one) for one in found[:limit]]
    if len(found) > limit:
        return Found(rows=rows, older=rows[-1].position)
    return Found(rows=rows, older=floor, searched_out=floor is not None)


async def _floor(session: AsyncSession, wanted: Filter) -> Position | None:
    """Give the position that lies so many records back, None when there are not so many; reads the index alone."""
    statement = _within(select(record.c.xact, record.c.seq), wanted).offset(wanted.window - 1).limit(1)
    found = (await session.execute(statement)).one_or_none()
    return None if found is None else Position(int(found.xact), found.seq)


def _columns() -> Select[Any]:
    excerpt = case(
        (func.pg_column_size(record.c.data) <= _LARGE, func.left(cast(record.c.data, Text), _EXCERPT)),
        else_=None,
    )
    shown = (record.c.id, record.c.xact, record.c.seq, record.c.module, record.c.type, record.c.subject)
    return select(*shown, record.c.level, record.c.time, excerpt.label("excerpt"))


def _within(statement: Select[Any], wanted: Filter) -> Select[Any]:
    """Restrict to what an index finds, newest first."""
    if wanted.module:
        statement = statement.where(record.c.module == wanted.module)
    if wanted.before is not None:
        statement = statement.where(_PLACE < _bound(wanted.before))  # noqa: SIM300  (as above)
    return statement.order_by(record.c.xact.desc(), record.c.seq.desc())


def _matching(statement: Select[Any], wanted: Filter) -> Select[Any]:
    statement = _within(statement, wanted)
    for column, asked in ((record.c.type, wanted.type), (record.c.subject, wanted.subject)):
        if asked.endswith("*"):
            statement = statement.where(column.startswith(asked[:-1], autoescape=True))
        elif asked:
            statement = statement.where(column == asked)
    if wanted.holds:
        held = cast(record.c.data, Text).icontains(wanted.holds, autoescape=True)
        statement = statement.where(held)
    return statement


def _bound(position: Position) -> Any:
    return tuple_(cast(literal(position.xact, Xid8()), Xid8()), literal(position.seq, BigInteger()))


def _row(one: Any) -> Row:
    return Row(
        id=one.id,
        position=Position(int(one.xact), one.seq),
        module=one.module,
        type=one.type,
        subject=one.subject,
        level=one.level,
        time=one.time,
        excerpt=one.excerpt,
    )
