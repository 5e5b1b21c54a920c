"""Projections as they stand, and what a person may ask of them: pause, resume, rebuild; in the caller's transaction."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import select, text, update

from cos.common import clock
from cos.errors import Conflict, NotFound
from cos.memory.highway_tables import projection as slots
from cos.memory.position import Position
from cos.memory.vitals import MAX_LAG_COUNT

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

    from cos.common.session import Readable

# Records after a projection's cursor, wanted or not, counted up to a bound.
_LAG = text("""
    SELECT count(*) AS events, min(recorded_at) AS oldest FROM (
        SELECT recorded_at FROM l1.record WHERE (xact, seq) > (CAST(:xact AS xid8), :seq)
        ORDER BY xact, seq LIMIT :most
    ) AS behind
""")

# Begins `next` anew, unless it is under way; the process that feeds this version makes the tables.
_REBUILD = text("""
    INSERT INTO highway.projection (name, slot, version, state, xact, seq, definition, created_at, moved_at)
    SELECT name, 'next', version, 'running', '0'::xid8, 0, definition, :now, :now
    FROM highway.projection WHERE name = :name AND slot = 'live'
    ON CONFLICT (name, slot) DO NOTHING
    RETURNING name
""")


@dataclass(frozen=True, slots=True)
class SlotState:
    """One slot of a projection as it stands.

    Attributes:
        slot: `live`, or `next` while it is built.
        version: of the code that feeds it.
        state: running, paused or failed.
        position: up to which every event has taken effect.
        events: how many have.
        lag_events: records after that position, counted up to a million.
        lag_seconds: how long ago the oldest of them was recorded.
        error: why it failed.
        failed_position: the event that it failed at.
    """

    slot: str
    version: int
    state: str
    position: str
    events: int
    lag_events: int
    lag_seconds: float
    moved_at: datetime
    error: str | None
    failed_position: str | None
    definition: dict[str, Any]


@dataclass(frozen=True, slots=True)
class ProjectionState:
    """A projection as it stands; `building` is the slot that will take the place of `live`."""

    name: str
    schema: str
    live: SlotState | None
    building: SlotState | None


async def measure(session: Readable, name: str | None = None) -> list[ProjectionState]:
    """Measure every projection, or one; raises NotFound when there is none of that name."""
    statement = select(slots).order_by(slots.c.name, slots.c.slot)
    if name is not None:
        statement = statement.where(slots.c.name == name)
    found: dict[str, dict[str, SlotState]] = {}
    for row in (await session.execute(statement)).all():
        found.setdefault(row.name, {})[row.slot] = await _state(session, row)
    if name is not None and not found:
        raise _unknown(name)
    return [
        ProjectionState(one, f"projection_{one}", states.get("live"), states.get("next"))
        for one, states in found.items()
    ]


async def pause(session: AsyncSession, name: str) -> None:
    """Stop feeding a projection after the batch under way; raises NotFound, or Conflict when nothing of it runs."""
    statement = update(slots).where(slots.c.name == name, slots.c.state == "running").values(state="paused")
    await _changed(session, name, statement, "is not running")


async def resume(session: AsyncSession, name: str) -> None:
    """Go on where it stopped, also where it failed; raises NotFound, or Conflict when all of it runs."""
    statement = (
        update(slots)
        .where(slots.c.name == name, slots.c.state != "running")
        .values(state="running", error=None, failed_xact=None, failed_seq=None)
    )
    await _changed(session, name, statement, "is running already")


async def rebuild(session: AsyncSession, name: str) -> None:
    """Build it anew from the beginning, beside what is there; raises NotFound, or Conflict when that is under way."""
    begun = await session.execute(_REBUILD, {"name": name, "now": clock.now()})
    if begun.one_or_none() is None:
        await measure(session, name)
        raise Conflict(f"The projection {name} is being rebuilt already.")


async def _changed(session: AsyncSession, name: str, statement: Any, why_not: str) -> None:
    if not (await session.execute(statement.returning(slots.c.slot))).all():
        await measure(session, name)
        raise Conflict(f"The projection {name} {why_not}.")


async def _state(session: Readable, row: Any) -> SlotState:
    lag = (await session.execute(_LAG, {"xact": row.xact, "seq": row.seq, "most": MAX_LAG_COUNT})).one()
    seconds = 0.0 if lag.oldest is None else max(0.0, (clock.now() - lag.oldest).total_seconds())
    failed = None if row.failed_xact is None else str(Position(int(row.failed_xact), row.failed_seq))
    return SlotState(
        slot=row.slot,
        version=row.version,
        state=row.state,
        position=str(Position(int(row.xact), row.seq)),
        events=row.events,
        lag_events=lag.events,
        lag_seconds=round(seconds, 3),
        moved_at=row.moved_at,
        error=row.error,
        failed_position=failed,
        definition=row.definition,
    )


def _unknown(name: str) -> NotFound:
    return NotFound(f"There is no projection {ascii(name)[:80]}.")
