"""Feeds one projection: its cursor moves in the transaction of its writes, so each event takes effect exactly once.

The log says which events are next: all of them, settled, in the order of positions. Redis may hand over their bodies,
matched by position and record id; what it does not have comes from the log. So where the bodies came from can change
nothing, whatever has happened to Redis.

States of a slot, and who moves them:

- *running*: fed by whichever process has its lock.
- *paused*: a person asked for it; resumed by a person.
- *failed*: an event could not be applied, however often it was tried; it stays where it is until a person resumes it,
  or a new version takes its place.

The slot `next` is built beside `live` in tables of its own; the transaction in which it has caught up swaps the two.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import asyncpg
import msgspec
import structlog

from cos.common import clock, db, ids, messages
from cos.errors import CosError
from cos.memory import highway_sql
from cos.memory.bodies import Bodies
from cos.memory.dead_letters import told
from cos.memory.delivery import Event
from cos.memory.misfit import misfit
from cos.memory.position import START, Position
from cos.memory.projection import Projection

if TYPE_CHECKING:
    from cos.common.pool import Connection, Pool

_log = structlog.get_logger("cos.projection")

POLL_SECONDS = 0.25
STANDBY_SECONDS = 1.0
LAST_RETRY_SECONDS = 30.0
#: Batches without a wanted event that one transaction skips.
_SKIPS = 20

_TRANSIENT = (
    asyncpg.TransactionRollbackError,
    asyncpg.InsufficientResourcesError,
    asyncpg.OperatorInterventionError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
)


class _Moved(Exception):
    """The slot was paused, rebuilt or swapped while its batch was applied."""


class _Poison(Exception):
    """One event could not be applied."""

    def __init__(
        self, event: Event[Any] | None, position: Position, error: BaseException, *, hopeless: bool
    ) -> None:
        super().__init__(str(error))
        self.event = event
        self.position = position
        self.error = error
        self.hopeless = hopeless


class Projector:
    """Feeds one projection; a background part. Any number of processes may run it."""

    def __init__(self, *, projection: Projection, pool: Pool, bodies: Bodies) -> None:
        """Take what is needed.

        Args:
            projection: what is fed.
            pool: to the log and the projection's tables, one database.
            bodies: hands over events.
        """
        self.projection = projection
        self.applied = 0
        self.failures = 0
        self.last_error: BaseException | None = None
        self._pool = pool
        self._bodies = bodies
        self._types = projection.wanted
        self._registered = False
        self._alone: dict[str, int] = {}
        self._tries: dict[str, tuple[Position, int]] = {}

    async def turn(self) -> float:
        """Feed each slot of this version one batch, and deliver one requeued letter.

        Raises:
            CosError: Postgres does not answer; the next turn begins anew.
        """
        try:
            async with self._pool.connection() as connection:
                return await self._turn(connection)
        except (*db.LOST, asyncpg.PostgresError) as error:
            raise self._pool.explain(error) from error

    async def _turn(self, connection: Connection) -> float:
        if not self._registered:
            await self._register(connection)
        waits = [POLL_SECONDS]
        for slot, version, state in await connection.fetch(
            highway_sql.PROJECTION_SLOTS, self.projection.name
        ):
            if version == self.projection.version and state == "running":
                waits.append(await self._feed(connection, slot))
        if await self._deliver_letter(connection):
            return 0
        return min(waits)

    async def _register(self, connection: Connection) -> None:
        """Add the slot that this version of the code feeds, where there is none yet."""
        spec = self.projection
        definition = msgspec.json.encode(spec.describe()).decode()
        async with connection.transaction():
            await connection.execute(highway_sql.LOCK_PROJECTION, spec.name)
            rows = await connection.fetch(highway_sql.PROJECTION_SLOTS, spec.name)
            versions = {row["slot"]: row["version"] for row in rows}
            if "live" not in versions:
                await connection.execute(
                    highway_sql.ADD_SLOT, spec.name, "live", spec.version, definition, clock.now()
                )
            elif versions["live"] == spec.version:
                await connection.execute(highway_sql.DESCRIBE_SLOT, spec.name, "live", definition)
            elif versions["live"] < spec.version and versions.get("next", 0) < spec.version:
                await connection.execute(
                    highway_sql.ADD_SLOT, spec.name, "next", spec.version, definition, clock.now()
                )
        self._registered = True
        if versions.get("live", 0) > spec.version:
            _log.warning("projection_superseded", name=spec.name, version=spec.version, live=versions["live"])

    async def _feed(self, connection: Connection, slot: str) -> float:
        """Apply one batch; gives the seconds to wait."""
        try:
            wait = await self._batch(connection, slot)
        except _Moved:
            return POLL_SECONDS
        except _Poison as poison:
            return await self._poisoned(connection, slot, poison)
        except _TRANSIENT as error:
            self.last_error = error
            if connection.is_closed():
                raise
            return ids.jitter(POLL_SECONDS)
        return wait

    async def _batch(self, connection: Connection, slot: str) -> float:
        spec = self.projection
        async with connection.transaction():
            if not await connection.fetchval(highway_sql.TRY_SLOT, spec.name, slot):
                return STANDBY_SECONDS
            cursor = await self._cursor(connection, slot)
            if cursor is None:
                return POLL_SECONDS
            alone = slot in self._alone
            reached, wanted, whole = await self._next(connection, cursor, alone=alone)
            if slot == "next" and whole:
                # Nothing can move the one that is replaced, from here to the swap.
                await connection.execute(highway_sql.WAIT_FOR_SLOT, spec.name, "live")
                reached, wanted, whole = await self._next(connection, cursor, alone=alone)
            events = await self._read(connection, wanted)
            if reached != cursor or cursor == START:
                await self._prepare(connection, slot, fresh=cursor == START)
                if events:
                    await self._apply(connection, events)
                await self._move(connection, slot, cursor, reached, len(events))
            if slot == "next" and whole:
                await self._swap(connection)
        self.applied += len(events)
        self._tries.pop(slot, None)
        if alone:
            self._alone[slot] -= 1
            if self._alone[slot] <= 0:
                del self._alone[slot]
        return POLL_SECONDS if whole else 0

    async def _cursor(self, connection: Connection, slot: str) -> Position | None:
        """Give where the slot stands; None where it is not this version's to feed."""
        row = await connection.fetchrow(highway_sql.READ_SLOT, self.projection.name, slot)
        if row is None or row["version"] != self.projection.version or row["state"] != "running":
            return None
        return Position(row["xact"], row["seq"])

    async def _move(
        self, connection: Connection, slot: str, cursor: Position, reached: Position, events: int
    ) -> None:
        spec = self.projection
        moved = await connection.fetchval(
            highway_sql.MOVE_SLOT, spec.name, slot, *reached, events, clock.now(), spec.version, *cursor
        )
        if moved is None:
            raise _Moved

    async def _prepare(self, connection: Connection, slot: str, *, fresh: bool) -> None:
        """Make the slot's tables where it is at its beginning, and let unqualified names mean them."""
        spec, schema = self.projection, self.projection.schema(slot)
        if fresh:
            await connection.execute(f"DROP SCHEMA IF EXISTS {schema} CASCADE")  # house: sql (a checked name)
            await connection.execute(f"CREATE SCHEMA {schema}")  # house: sql (a checked name)
        await connection.execute(f"SET LOCAL search_path TO {schema}, public")  # house: sql (a checked name)
        if fresh and callable(spec.setup):
            await spec.setup(connection)
        elif fresh and not callable(spec.setup):
            for statement in spec.setup:
                await connection.execute(statement)

    async def _next(
        self, connection: Connection, cursor: Position, *, alone: bool
    ) -> tuple[Position, list[asyncpg.Record], bool]:
        """Give how far the batch reaches, its wanted records, and whether there is nothing after it."""
        spec = self.projection
        reached = cursor
        for _ in range(_SKIPS):
            rows = await connection.fetch(highway_sql.NEXT_SETTLED, *reached, spec.batch)
            wanted = [
                row
                for row in rows
                if (spec.modules is None or row["module"] in spec.modules) and self._types.want(row["type"])
            ]
            if alone and wanted:
                return Position(wanted[0]["xact"], wanted[0]["seq"]), wanted[:1], False
            if rows:
                reached = Position(rows[-1]["xact"], rows[-1]["seq"])
            if len(rows) < spec.batch or wanted:
                return reached, wanted, len(rows) < spec.batch
        return reached, [], False

    async def _read(self, connection: Connection, wanted: Sequence[asyncpg.Record]) -> list[Event[Any]]:
        if not wanted:
            return []
        bodies = await self._bodies.of(connection, wanted)
        events: list[Event[Any]] = []
        for row, envelope in zip(wanted, bodies, strict=True):
            try:
                events.append(Event(envelope, self.projection.read(envelope.data)))
            except Exception as error:
                unfit = misfit(envelope.type, "projection", error)
                event = Event(envelope, None)
                raise _Poison(
                    event, Position(row["xact"], row["seq"]), unfit, hopeless=len(wanted) == 1
                ) from error
        return events

    async def _apply(self, connection: Connection, events: list[Event[Any]]) -> None:
        try:
            await self.projection.apply(connection, events)
        except _TRANSIENT:
            raise
        except Exception as error:
            if connection.is_closed():
                raise
            raise _Poison(events[0], events[0].position, error, hopeless=False) from error

    async def _swap(self, connection: Connection) -> None:
        """Put what was built in the place of what it replaces; the old tables stay until the next swap."""
        spec = self.projection
        live, following, old = (spec.schema(slot) for slot in ("live", "next", "old"))
        await connection.execute(f"DROP SCHEMA IF EXISTS {old} CASCADE")  # house: sql (a checked name)
        await connection.execute(f"ALTER SCHEMA {live} RENAME TO {old}")  # house: sql (a checked name)
        await connection.execute(f"ALTER SCHEMA {following} RENAME TO {live}")  # house: sql (a checked name)
        await connection.execute(highway_sql.DROP_LIVE_SLOT, spec.name)
        await connection.execute(highway_sql.PROMOTE_SLOT, spec.name)
        _log.info("projection_swapped", name=spec.name, version=spec.version)

    async def _poisoned(self, connection: Connection, slot: str, poison: _Poison) -> float:
        """Find the one event that cannot be applied, try it again, then stop or bury it; never skip it silently."""
        self.failures += 1
        self.last_error = poison.error
        spec = self.projection
        if slot not in self._alone:
            self._alone[slot] = spec.batch  # one by one, until the batch that failed is behind
            return 0
        position, tries = self._tries.get(slot, (poison.position, 0))
        tries = 1 + (tries if position == poison.position else 0)
        self._tries[slot] = (poison.position, tries)
        _log.warning(
            "projection_failed",
            name=spec.name,
            slot=slot,
            position=str(poison.position),
            attempt=tries,
            error=repr(poison.error)[:500],
        )
        if tries < spec.attempts and not poison.hopeless:
            return ids.jitter(min(POLL_SECONDS * 2.0 ** (tries - 1), LAST_RETRY_SECONDS))
        del self._tries[slot]
        if spec.on_poison == "bury" and poison.event is not None:
            await self._bury(connection, slot, poison.event, poison, tries)
            return 0
        said, _ = told(poison.error)
        await connection.execute(highway_sql.FAIL_SLOT, spec.name, slot, said, *poison.position)
        _log.error(
            "projection_stopped", name=spec.name, slot=slot, position=str(poison.position), error=said[:300]
        )
        return POLL_SECONDS

    async def _bury(
        self, connection: Connection, slot: str, event: Event[Any], poison: _Poison, tries: int
    ) -> None:
        """Keep the event as a dead letter and go on after it, both or neither."""
        spec, envelope, now = self.projection, event.envelope, clock.now()
        said, trace = told(poison.error)
        letter = (
            ids.uuid7(),
            letters_of(spec),
            0,
            envelope.module,
            *poison.position,
            envelope.type,
            envelope.subject,
        )
        body = messages.encode(envelope).decode()
        async with connection.transaction():
            if not await connection.fetchval(highway_sql.TRY_SLOT, spec.name, slot):
                return
            cursor = await self._cursor(connection, slot)
            if cursor is None or cursor >= poison.position:
                return
            await connection.execute(highway_sql.BURY, *letter, body, said, trace, tries, now)
            await self._move(connection, slot, cursor, poison.position, 0)

    async def _deliver_letter(self, connection: Connection) -> bool:
        """Apply one requeued letter; says whether there was one."""
        spec = self.projection
        letter: asyncpg.Record | None = None
        try:
            async with connection.transaction():
                letter = await connection.fetchrow(highway_sql.TAKE_QUEUED_LOCKED, letters_of(spec))
                if letter is None or not await connection.fetchval(highway_sql.TRY_SLOT, spec.name, "live"):
                    return False
                await self._prepare(connection, "live", fresh=False)
                envelope = messages.decode(letter["event"])
                await spec.apply(
                    connection, [Event(envelope, spec.read(envelope.data), letter["attempts"] + 1)]
                )
                await connection.execute(highway_sql.DELIVERED_LOCKED, letter["id"])
        except (*_TRANSIENT, CosError):
            raise
        except Exception as error:
            # Whatever it raises is kept with the letter, which is dead again.
            if connection.is_closed() or letter is None:
                raise
            said, trace = told(error)
            await connection.execute(highway_sql.DIED_LOCKED, letter["id"], said, trace, clock.now())
        return True


def letters_of(projection: Projection) -> str:
    """Give the group under which a projection's dead letters are kept."""
    return f"projection:{projection.name}"
