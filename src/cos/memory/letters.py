"""Looking at dead letters and deciding about them: list, show, count, requeue, drop; in the caller's transaction."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from sqlalchemy import Text, case, cast, delete, func, select, update

from cos.common import clock
from cos.errors import Conflict, NotFound
from cos.memory.highway_tables import dead_letter as letters

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Row
    from sqlalchemy.ext.asyncio import AsyncSession

    from cos.common.session import Readable

STATES = ("dead", "queued", "delivering", "delivered")


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which letters are meant; what is None does not matter.

    Attributes:
        group: buried by this group.
        module: of this module.
        type: of this type; a trailing `*` matches every type that begins so.
        subject: about this subject.
        state: in this state.
        since: failed last at this time or later.
        until: failed last before this time.
    """

    group: str | None = None
    module: str | None = None
    type: str | None = None
    subject: str | None = None
    state: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    def conditions(self) -> list[ColumnElement[bool]]:
        """Give it as conditions of a statement."""
        found: list[ColumnElement[bool]] = []
        for column, value in (
            (letters.c.group_name, self.group),
            (letters.c.module, self.module),
            (letters.c.subject, self.subject),
            (letters.c.state, self.state),
        ):
            if value is not None:
                found.append(column == value)
        if self.type is not None and self.type.endswith("*"):
            found.append(letters.c.type.startswith(self.type[:-1], autoescape=True))
        elif self.type is not None:
            found.append(letters.c.type == self.type)
        if self.since is not None:
            found.append(letters.c.last_failed_at >= self.since)
        if self.until is not None:
            found.append(letters.c.last_failed_at < self.until)
        return found


@dataclass(frozen=True, slots=True)
class Tally:
    """The letters of one group that nobody has decided about, or that wait for their delivery."""

    group: str
    dead: int
    queued: int
    oldest: datetime
    newest: datetime


_COLUMNS = tuple(
    cast(column, Text).label("event") if column.name == "event" else column for column in letters.columns
)


async def page(session: Readable, wanted: Filter, *, before: UUID | None, limit: int) -> list[Row[Any]]:
    """Give letters, newest first, older than `before`; its cost does not grow with how deep the page lies."""
    statement = select(*_COLUMNS).where(*wanted.conditions()).order_by(letters.c.id.desc()).limit(limit)
    if before is not None:
        statement = statement.where(letters.c.id < before)
    return list((await session.execute(statement)).all())


async def get(session: Readable, letter_id: UUID) -> Row[Any]:
    """Give one letter; raises NotFound."""
    found = (await session.execute(select(*_COLUMNS).where(letters.c.id == letter_id))).one_or_none()
    if found is None:
        raise NotFound(f"There is no dead letter {letter_id}.")
    return found


async def tallies(session: AsyncSession) -> list[Tally]:
    """Count the letters that are not delivered, a group at a time."""
    dead = func.count(case((letters.c.state == "dead", 1)))
    rows = await session.execute(
        select(
            letters.c.group_name,
            dead,
            func.count() - dead,
            func.min(letters.c.first_failed_at),
            func.max(letters.c.last_failed_at),
        )
        .where(letters.c.state != "delivered")
        .group_by(letters.c.group_name)
        .order_by(letters.c.group_name)
    )
    return [Tally(*row) for row in rows]


async def requeue(session: AsyncSession, letter_id: UUID) -> Row[Any]:
    """Ask for one more delivery of a letter; raises NotFound, or Conflict when it is not dead."""
    statement = (
        update(letters)
        .where(letters.c.id == letter_id, letters.c.state == "dead")
        .values(state="queued", requeued_at=clock.now())
    )
    changed = await session.execute(statement.returning(letters.c.id))
    if changed.one_or_none() is None:
        state = (await get(session, letter_id)).state
        raise Conflict(f"The letter {letter_id} is {state}; only a dead one can be requeued.")
    return await get(session, letter_id)


async def requeue_all(session: AsyncSession, wanted: Filter) -> int:
    """Ask for one more delivery of every dead letter that is meant; gives how many."""
    statement = (
        update(letters)
        .where(letters.c.state == "dead", *wanted.conditions())
        .values(state="queued", requeued_at=clock.now())
    )
    return len((await session.execute(statement.returning(letters.c.id))).all())


async def drop(session: AsyncSession, letter_id: UUID) -> Row[Any]:
    """Remove a letter for ever and give it as it was; raises NotFound, or Conflict while it is delivered."""
    was = await get(session, letter_id)
    gone = await session.execute(
        delete(letters)
        .where(letters.c.id == letter_id, letters.c.state != "delivering")
        .returning(letters.c.id)
    )
    if gone.one_or_none() is None:
        raise Conflict(f"The letter {letter_id} is being delivered at this moment; try again shortly.")
    return was


async def drop_all(session: AsyncSession, wanted: Filter) -> int:
    """Remove every letter that is meant, but those being delivered; gives how many."""
    statement = delete(letters).where(letters.c.state != "delivering", *wanted.conditions())
    return len((await session.execute(statement.returning(letters.c.id))).all())
