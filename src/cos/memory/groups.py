"""Consumer groups as they stand: how far each is in each module, and how far behind."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from redis.exceptions import RedisError
from sqlalchemy import delete, func, select, text

from cos.common import clock
from cos.common.subscriber_group import PRELUDE, Group, Place
from cos.common.wire import Wire
from cos.errors import NotFound
from cos.memory import sql
from cos.memory.highway_tables import consumer_group as groups
from cos.memory.highway_tables import dead_letter as letters
from cos.memory.highway_tables import group_position as positions
from cos.memory.position import START, Position
from cos.memory.tables import generation
from cos.memory.vitals import MAX_LAG_COUNT

if TYPE_CHECKING:
    from redis.asyncio import Redis
    from sqlalchemy import Row
    from sqlalchemy.ext.asyncio import AsyncSession

    from cos.common.session import Readable
    from cos.common.subscriber_policy import Stream
    from cos.memory.streams import Streams

#: `sql.MODULES` and `sql.LAG_AFTER` with SQLAlchemy's parameters.
_MODULES = text(sql.MODULES)
_LAG = text("""
    SELECT count(*) AS events, min(recorded_at) AS oldest FROM (
        SELECT recorded_at FROM l1.record
        WHERE module = :module AND (xact, seq) > (CAST(:xact AS xid8), :seq)
        ORDER BY xact, seq LIMIT :most
    ) AS behind
""")


@dataclass(frozen=True, slots=True)
class ModulePlace:
    """How far a group is in one module.

    Attributes:
        module: which.
        position: up to which everything is done.
        pending: events handed out and not done; None while Redis does not answer.
        lag_events: events recorded and not done, counted up to a million.
        lag_seconds: how long ago the oldest of them was recorded.
    """

    module: str
    position: str
    pending: int | None
    lag_events: int
    lag_seconds: float


@dataclass(frozen=True, slots=True)
class GroupState:
    """A group as it stands; `consumers` is None while Redis does not answer."""

    name: str
    definition: dict[str, Any]
    created_at: datetime
    seen_at: datetime
    consumers: int | None
    lag_events: int
    lag_seconds: float
    dead_letters: int
    modules: list[ModulePlace]


async def measure(
    session: Readable, redis: Redis, streams: Streams, name: str | None = None
) -> list[GroupState]:
    """Measure every group, or one.

    Lag is counted in the log from the place up to which everything is done: events that the group has yet to finish,
    also those of types that it does not want.

    Raises:
        NotFound: there is no group of that name.
    """
    statement = select(groups).order_by(groups.c.name)
    if name is not None:
        statement = statement.where(groups.c.name == name)
    rows = (await session.execute(statement)).all()
    if name is not None and not rows:
        raise NotFound(f"There is no group {ascii(name)[:80]}.")
    number: int = (await session.execute(select(func.max(generation.c.number)))).scalar() or 0
    modules = [row[0] for row in await session.execute(_MODULES)]
    counted = await session.execute(
        select(letters.c.group_name, func.count())
        .where(letters.c.state == "dead")
        .group_by(letters.c.group_name)
    )
    dead: dict[str, int] = {group: count for group, count in counted}  # noqa: C416  (rows are not pairs to mypy)
    wire = Wire(redis=redis, prelude=PRELUDE)
    try:
        return [await _state(session, wire, redis, streams, row, number, modules, dead) for row in rows]
    finally:
        await wire.close()


async def forget(session: AsyncSession, name: str) -> Row[Any]:
    """Remove a group's registration and its places; raises NotFound. Its dead letters stay."""
    gone = (
        await session.execute(delete(groups).where(groups.c.name == name).returning(groups))
    ).one_or_none()
    if gone is None:
        raise NotFound(f"There is no group {ascii(name)[:80]}.")
    await session.execute(delete(positions).where(positions.c.group_name == name))
    return gone


async def forget_in_redis(redis: Redis, streams: Streams, name: str, modules: list[str], number: int) -> None:
    """Remove a group from the streams, with what waits for it; raises RedisError."""
    pipeline = redis.pipeline(transaction=False)
    for module in modules:
        stream = streams.of_group(name, module, number)
        pipeline.xgroup_destroy(stream.key, name)
        pipeline.delete(stream.refill, stream.owner)
    pipeline.delete(streams.gaps(name))
    await pipeline.execute(raise_on_error=False)


async def _state(
    session: Readable,
    wire: Wire,
    redis: Redis,
    streams: Streams,
    row: Any,
    number: int,
    modules: list[str],
    dead: dict[str, int],
) -> GroupState:
    wanted = row.definition.get("modules")
    read = [one for one in modules if wanted is None or one in wanted]
    kept = await _kept(session, row, number)
    of = {module: streams.of_group(row.name, module, number) for module in read}
    seen, consumers = await _seen(wire, redis, streams, row.name, list(of.values()))
    found = []
    for module in read:
        place = None if seen is None else seen.get(of[module])
        at = kept.get(module, Position(*kept[""]))
        if place is not None:
            at = max(at, Position.parse(place.done))
        lag = (
            await session.execute(
                _LAG, {"module": module, "xact": at.xact, "seq": at.seq, "most": MAX_LAG_COUNT}
            )
        ).one()
        seconds = 0.0 if lag.oldest is None else max(0.0, (clock.now() - lag.oldest).total_seconds())
        pending = None if seen is None else 0 if place is None else place.pending
        found.append(ModulePlace(module, str(at), pending, lag.events, round(seconds, 3)))
    return GroupState(
        name=row.name,
        definition=row.definition,
        created_at=row.created_at,
        seen_at=row.seen_at,
        consumers=consumers,
        lag_events=sum(one.lag_events for one in found),
        lag_seconds=max((one.lag_seconds for one in found), default=0.0),
        dead_letters=dead.get(row.name, 0),
        modules=found,
    )


async def _kept(session: Readable, row: Any, number: int) -> dict[str, Position]:
    """Give the places that Postgres keeps, by module; under the empty name where a module without one begins."""
    begins = Position(int(row.xact), row.seq) if row.generation == number else START
    rows = await session.execute(
        select(positions.c.module, positions.c.xact, positions.c.seq).where(
            positions.c.group_name == row.name, positions.c.generation == number
        )
    )
    return {"": begins} | {module: Position(int(xact), seq) for module, xact, seq in rows}


async def _seen(
    wire: Wire, redis: Redis, streams: Streams, name: str, keys: list[Stream]
) -> tuple[dict[Stream, Place] | None, int | None]:
    """Give what Redis knows of the group: its places and the number of its consumers."""
    group = Group(wire=wire, name=name, consumer="", gaps=streams.gaps(name))
    consumers: set[bytes] = set()
    try:
        places = await group.places(keys)
        for stream in places:
            for one in await redis.xinfo_consumers(stream.key, name):
                if one["name"] != b"-":
                    consumers.add(one["name"])
    except (RedisError, OSError):
        return None, None
    return places, len(consumers)
