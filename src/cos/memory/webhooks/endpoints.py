"""Looking at webhook endpoints and deciding about them, in the caller's transaction."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

from sqlalchemy import Row, case, delete, func, insert, literal, select, text, update

from cos.common import clock, ids, webhook_signature
from cos.errors import Conflict, NotFound
from cos.memory.highway_tables import dead_letter
from cos.memory.position import START, Position
from cos.memory.webhook_tables import attempt as attempts
from cos.memory.webhook_tables import endpoint as endpoints
from cos.memory.webhook_tables import secret as secrets
from cos.memory.webhooks.endpoint import GROUP

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.ext.asyncio import AsyncSession

    from cos.common.session import Readable
    from cos.memory.selection import Selection

#: All of them are served by one process, if there is but one.
MOST_ENDPOINTS = 1000
#: Secrets that sign at once.
MOST_SECRETS = 5

#: As people see it.
STATE = case(
    ((endpoints.c.state == "active") & endpoints.c.failing_since.is_not(None), "failing"),
    else_=endpoints.c.state,
).label("shown_state")
_SHOWN = (
    *(column for column in endpoints.columns if column.name not in ("owner", "lease_until", "epoch")),
    STATE,
)
_TOP = text(
    "SELECT xact::text, seq FROM l1.record WHERE xact < pg_snapshot_xmin(pg_current_snapshot()) "
    "ORDER BY xact DESC, seq DESC LIMIT 1"
)
_IS_REACHED = text("SELECT CAST(:xact AS xid8) < pg_snapshot_xmax(pg_current_snapshot())")
#: Two that create at once count one after the other.
_LOCK = text("SELECT pg_advisory_xact_lock(hashtextextended('cos webhooks', 0))")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """How many endpoints are in each state, as people see it."""

    states: dict[str, int]

    def count(self, state: str) -> int:
        """Give how many are in a state."""
        return self.states.get(state, 0)


async def page(
    session: Readable, *, state: str | None, before: UUID | None, limit: int
) -> Sequence[Row[Any]]:
    """Give endpoints, newest first."""
    statement = select(*_SHOWN).order_by(endpoints.c.id.desc()).limit(limit)
    if state is not None:
        statement = statement.where(literal(state) == STATE)
    if before is not None:
        statement = statement.where(endpoints.c.id < before)
    return (await session.execute(statement)).all()


async def get(session: Readable, endpoint_id: UUID, *, lock: bool = False) -> Row[Any]:
    """Give one; raises NotFound.

    Args:
        session: whose transaction.
        endpoint_id: of the endpoint.
        lock: keep it from being changed until the transaction ends.
    """
    statement = select(*_SHOWN).where(endpoints.c.id == endpoint_id)
    found = (await session.execute(statement.with_for_update() if lock else statement)).one_or_none()
    if found is None:
        raise NotFound(f"There is no webhook {endpoint_id}.")
    return found


async def secrets_of(session: AsyncSession, endpoint_id: UUID) -> list[tuple[str, datetime | None]]:
    """Give what signs for an endpoint, newest first, each with its end; for signing only."""
    statement = (
        select(secrets.c.secret, secrets.c.expires_at)
        .where(secrets.c.endpoint_id == endpoint_id)
        .order_by(secrets.c.id.desc())
    )
    return [(row.secret, row.expires_at) for row in await session.execute(statement)]


async def top(session: AsyncSession) -> Position:
    """Give the last settled position: all that is recorded from now on comes after it."""
    row = (await session.execute(_TOP)).one_or_none()
    return START if row is None else Position(int(row[0]), row[1])


async def check_place(session: AsyncSession, position: Position) -> None:
    """Prove that a position can be one of this log; raises Conflict."""
    reached = await session.execute(_IS_REACHED, {"xact": position.xact})
    if position != START and not reached.scalar_one():
        raise Conflict(
            f"The log has not come to the position {position}; begin at 0-0, at one that it has, or without one."
        )


async def create(
    session: AsyncSession,
    *,
    url: str,
    description: str,
    selection: Selection,
    after: Position,
    secret: str | None,
) -> tuple[UUID, str]:
    """Add an endpoint; gives its id and its secret.

    Args:
        session: whose transaction.
        url: checked by `Target.parse`.
        description: for people.
        selection: which events it gets.
        after: it gets what comes after this position, which is one of the log.
        secret: to sign with; a new one when absent.

    Raises:
        Conflict: there are too many.
        BadInput: the secret is none.
    """
    made = secret if secret is not None else webhook_signature.new_secret()
    webhook_signature.key_of(made)
    await session.execute(_LOCK)
    count = (await session.execute(select(func.count()).select_from(endpoints))).scalar_one()
    if count >= MOST_ENDPOINTS:
        raise Conflict(f"There are {count} webhooks already, which is the most; delete one first.")
    endpoint_id, now = ids.uuid7(), clock.now()
    values = {
        "id": endpoint_id,
        "url": url,
        "description": description,
        **_columns(selection),
        "state": "active",
        "state_since": now,
        **_place(after),
        "created_at": now,
        "changed_at": now,
    }
    await session.execute(insert(endpoints).values(values))
    await session.execute(insert(secrets).values(_secret(endpoint_id, made, now)))
    return endpoint_id, made


async def change(
    session: AsyncSession,
    endpoint_id: UUID,
    *,
    url: str | None,
    description: str | None,
    selection: Selection | None,
) -> None:
    """Change what is not None; the next event is then tried at once. Raises NotFound."""
    values: dict[str, Any] = {"changed_at": clock.now()}
    if url is not None:
        values["url"] = url
    if description is not None:
        values["description"] = description
    if selection is not None:
        values |= _columns(selection)
    if url is not None or selection is not None:
        values |= _fresh()
    await _update(session, endpoint_id, values)


async def pause(session: AsyncSession, endpoint_id: UUID, reason: str | None) -> None:
    """Stop deliveries after the one under way; raises NotFound, or Conflict when it is paused."""
    if (await get(session, endpoint_id, lock=True)).state == "paused":
        raise Conflict(f"The webhook {endpoint_id} is paused already.")
    now = clock.now()
    # The epoch stays: what is under way may still be written.
    await _update(
        session, endpoint_id, {"state": "paused", "reason": reason, "state_since": now, "changed_at": now}
    )


async def start(
    session: AsyncSession, endpoint_id: UUID, *, was: str, after: Position | None, from_now: bool
) -> None:
    """Deliver again what is paused or disabled.

    Args:
        session: whose transaction.
        endpoint_id: of the endpoint.
        was: the state that it must be in.
        after: go on after this position; None for where it stood.
        from_now: go on with what is recorded from now on.

    Raises:
        NotFound: there is none.
        Conflict: it is in another state.
    """
    row = await get(session, endpoint_id, lock=True)
    if row.state != was:
        raise Conflict(f"The webhook {endpoint_id} is {row.shown_state}, not {was}.")
    now = clock.now()
    values: dict[str, Any] = {
        "state": "active",
        "reason": None,
        "state_since": now,
        "changed_at": now,
    } | _fresh()
    place = await top(session) if from_now else after
    await _update(session, endpoint_id, values | ({} if place is None else _place(place)))


async def exchange_secret(
    session: AsyncSession, endpoint_id: UUID, *, secret: str | None, overlap_seconds: float
) -> str:
    """Sign with a new secret from now on, and with the older ones until the overlap is over; gives the new one.

    Raises:
        NotFound: there is no such endpoint.
        Conflict: too many secrets sign already.
        BadInput: the secret is none.
    """
    made = secret if secret is not None else webhook_signature.new_secret()
    webhook_signature.key_of(made)
    await get(session, endpoint_id, lock=True)
    now = clock.now()
    await session.execute(
        delete(secrets).where(secrets.c.endpoint_id == endpoint_id, secrets.c.expires_at <= now)
    )
    if len(await secrets_of(session, endpoint_id)) >= MOST_SECRETS:
        raise Conflict(
            f"{MOST_SECRETS} secrets of the webhook {endpoint_id} sign already; wait until the overlap of one is over."
        )
    end = now + timedelta(seconds=overlap_seconds)
    older = update(secrets).where(secrets.c.endpoint_id == endpoint_id)
    older = older.where(secrets.c.expires_at.is_(None) | (secrets.c.expires_at > end)).values(expires_at=end)
    await session.execute(older)
    await session.execute(insert(secrets).values(_secret(endpoint_id, made, now)))
    await _update(session, endpoint_id, {"changed_at": now})
    return made


async def remove(session: AsyncSession, endpoint_id: UUID) -> None:
    """Delete an endpoint with its secrets and attempts; its dead letters stay. Raises NotFound."""
    gone = await session.execute(
        delete(endpoints).where(endpoints.c.id == endpoint_id).returning(endpoints.c.id)
    )
    if gone.one_or_none() is None:
        raise NotFound(f"There is no webhook {endpoint_id}.")


async def last_attempts(session: Readable, endpoint_id: UUID, *, limit: int) -> Sequence[Row[Any]]:
    """Give the last tries, newest first; raises NotFound."""
    await get(session, endpoint_id)
    statement = select(attempts).where(attempts.c.endpoint_id == endpoint_id)
    return (await session.execute(statement.order_by(attempts.c.id.desc()).limit(limit))).all()


async def dead_letters(session: Readable, endpoint_ids: Sequence[UUID]) -> dict[UUID, int]:
    """Count the dead letters of some endpoints."""
    groups = {f"{GROUP}{one}": one for one in endpoint_ids}
    statement = (
        select(dead_letter.c.group_name, func.count())
        .where(dead_letter.c.state == "dead", dead_letter.c.group_name.in_(groups))
        .group_by(dead_letter.c.group_name)
    )
    return {groups[name]: count for name, count in await session.execute(statement)}


async def tally(session: AsyncSession) -> Tally:
    """Count the endpoints by state."""
    rows = await session.execute(select(STATE, func.count()).group_by(STATE))
    return Tally(states={row[0]: row[1] for row in rows})


async def _update(session: AsyncSession, endpoint_id: UUID, values: dict[str, Any]) -> None:
    statement = update(endpoints).where(endpoints.c.id == endpoint_id).values(values)
    if (await session.execute(statement.returning(endpoints.c.id))).one_or_none() is None:
        raise NotFound(f"There is no webhook {endpoint_id}.")


def _fresh() -> dict[str, Any]:
    """Give the columns of an endpoint that has not failed, and that nothing under way may change any more."""
    return {
        "epoch": endpoints.c.epoch + 1,
        "attempts": 0,
        "next_attempt_at": None,
        "failing_since": None,
        "failures": 0,
        "error": None,
    }


def _columns(selection: Selection) -> dict[str, Any]:
    return {
        "modules": list(selection.modules),
        "types": list(selection.types),
        "subjects": list(selection.subjects),
    }


def _place(position: Position) -> dict[str, Any]:
    return {"xact": position.xact, "seq": position.seq}


def _secret(endpoint_id: UUID, secret: str, now: datetime) -> dict[str, Any]:
    return {"id": ids.uuid7(), "endpoint_id": endpoint_id, "secret": secret, "created_at": now}
