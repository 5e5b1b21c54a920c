"""Who got one event, and how often it was tried: asked of Redis, of the places kept in Postgres, and of the letters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from redis.exceptions import ResponseError
from sqlalchemy import and_, func, select

from cos.common import redis as redis_client
from cos.common.circuit_breaker import BreakerOpen
from cos.memory.delivery import Types
from cos.memory.highway_tables import consumer_group, dead_letter, group_position, projection
from cos.memory.position import Position
from cos.memory.tables import generation

if TYPE_CHECKING:
    from redis.asyncio import Redis
    from sqlalchemy.ext.asyncio import AsyncSession

    from cos.backend.deps import Services
    from cos.common.messages import Envelope

_OF_LETTERS = {
    "dead": "given up on: a dead letter",
    "queued": "given up on once, waits to be delivered again",
    "delivering": "is being delivered again",
    "delivered": "given up on once, then delivered",
}


@dataclass(frozen=True, slots=True)
class Delivery:
    """What became of an event at one reader; `tries` is None where nobody keeps them."""

    name: str
    outcome: str
    tries: int | None = None


@dataclass(frozen=True, slots=True)
class Route:
    """Where one event went: whether it stands in its stream (None where Redis cannot be asked), and who got it."""

    announced: bool | None
    deliveries: list[Delivery]


async def route_of(services: Services, db: AsyncSession, event: Envelope) -> Route:
    """Find out where an event went; a reader that does not want it is not named."""
    at = Position.parse(event.position)
    number: int = (await db.execute(select(func.max(generation.c.number)))).scalar() or 0
    key = services.streams.key(event.module, number)
    groups = (await db.execute(_groups(event, at, number))).all()
    wanted = [row for row in groups if _wants(row.definition, event)]

    async def ask() -> tuple[bool, dict[str, tuple[bool, int | None]]]:
        entry = await services.streams.entry(event.module, number, at)
        top = (await services.streams.tops([event.module], number))[event.module]
        return entry is not None or top >= at, {
            row.name: await _seen(services.redis, key, row.name, at) for row in wanted
        }

    announced: bool | None = None
    seen: dict[str, tuple[bool, int | None]] | None = None
    try:
        announced, seen = await services.breaker.call(ask)
    except (BreakerOpen, *redis_client.LOST):
        # The places in Postgres still tell what is done.
        seen = None
    found = [_delivery(row, at, number, None if seen is None else seen[row.name]) for row in wanted]
    return Route(announced, [*found, *await _projections(db, event, at)])


def _groups(event: Envelope, at: Position, number: int) -> Any:
    """Select each group with its place in this module's stream, and its letter of this event."""
    place = and_(
        group_position.c.group_name == consumer_group.c.name,
        group_position.c.generation == number,
        group_position.c.module == event.module,
    )
    letter = and_(
        dead_letter.c.group_name == consumer_group.c.name,
        dead_letter.c.generation == number,
        dead_letter.c.module == event.module,
        dead_letter.c.xact == at.xact,
        dead_letter.c.seq == at.seq,
    )
    return (
        select(
            consumer_group.c.name,
            consumer_group.c.definition,
            consumer_group.c.generation,
            consumer_group.c.xact,
            consumer_group.c.seq,
            group_position.c.xact.label("done_xact"),
            group_position.c.seq.label("done_seq"),
            dead_letter.c.state,
            dead_letter.c.attempts,
        )
        .outerjoin(group_position, place)
        .outerjoin(dead_letter, letter)
        .order_by(consumer_group.c.name)
    )


async def _seen(redis: Redis, key: str, group: str, at: Position) -> tuple[bool, int | None]:
    """Give whether the entry was handed out to the group, and how often where it is not done yet."""
    try:
        waiting: Any = await cast("Any", redis.xpending_range(key, group, str(at), str(at), 1))
        if waiting:
            return True, int(waiting[0]["times_delivered"])
        for told in await cast("Any", redis.xinfo_groups(key)):
            if told["name"].decode() == group:
                return Position.parse(told["last-delivered-id"].decode()) >= at, None
    except ResponseError:
        pass  # no such stream, or the group has not read it yet
    return False, None


def _delivery(row: Any, at: Position, number: int, seen: tuple[bool, int | None] | None) -> Delivery:
    if row.state is not None:
        return Delivery(row.name, _OF_LETTERS[row.state], row.attempts)
    if row.generation == number and at <= Position(int(row.xact), row.seq):
        return Delivery(row.name, "recorded before this group began")
    if row.done_xact is not None and at <= Position(int(row.done_xact), row.done_seq):
        return Delivery(row.name, "handled")
    if seen is None:
        return Delivery(row.name, "not known while Redis does not answer")
    handed_out, tries = seen
    if tries is not None:
        return Delivery(row.name, "handed out, not done yet", tries)
    return Delivery(row.name, "handled" if handed_out else "waits to be handed out")


async def _projections(db: AsyncSession, event: Envelope, at: Position) -> list[Delivery]:
    rows = await db.execute(select(projection).where(projection.c.slot == "live").order_by(projection.c.name))
    found = []
    for row in rows:
        if not _wants(row.definition, event):
            continue
        applied = at <= Position(int(row.xact), row.seq)
        failed = row.failed_xact is not None and Position(int(row.failed_xact), row.failed_seq) == at
        outcome = "stopped the projection" if failed else "has taken effect, once" if applied else "waits"
        found.append(Delivery(f"{row.name} (projection)", outcome, 1 if applied else None))
    return found


def _wants(definition: dict[str, Any], event: Envelope) -> bool:
    modules = definition.get("modules")
    return (modules is None or event.module in modules) and Types(definition.get("types")).want(event.type)
