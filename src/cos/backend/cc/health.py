"""Health records: what COS measured of itself, and what modules tell of themselves by heartbeats."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import structlog
from sqlalchemy import select, update
from sqlalchemy.dialects.postgresql import insert

from cos.backend.cc.schemas import HealthRecord, Heartbeat, ModuleHealth, SystemHealth
from cos.backend.cc.tables import health as records
from cos.backend.cc.tables import module as modules
from cos.common import clock, ids
from cos.common.health import State
from cos.errors import CosError, NotFound

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

    from cos.common.health import Report
    from cos.common.monitor import Monitor
    from cos.common.session import Readable

_log = structlog.get_logger("cos.health")

#: The words that existing clients know for a state.
WORDS = {State.OK: "healthy", State.DEGRADED: "degraded", State.DOWN: "unhealthy", State.UNKNOWN: "degraded"}
#: A module that has not told of itself for so long is offline.
SILENT = timedelta(seconds=90)
#: COS writes of itself when its state changes, and at least this often.
KEEP_SECONDS = 30.0
_LOOK_SECONDS = 2.0


async def latest(db: Readable) -> HealthRecord:
    """Give the control centre's own last record; raises NotFound before the first."""
    found = (await db.execute(select(records).where(records.c.module == "cc"))).one_or_none()
    if found is None:
        raise NotFound("no health record yet")
    return _record(found)


async def system(db: Readable) -> SystemHealth:
    """Give what every module last told of itself."""
    now = clock.now()
    found = [
        ModuleHealth(
            module=row.module,
            status=_status(row.status, row.last_updated, now),
            last_updated=row.last_updated,
        )
        for row in await db.execute(select(records).order_by(records.c.module))
    ]
    own = next((one.status for one in found if one.module == "cc"), "unhealthy")
    well = all(one.status == "healthy" for one in found)
    overall = "unhealthy" if own in ("unhealthy", "offline") else "healthy" if well else "degraded"
    return SystemHealth(overall_status=overall, modules=found, timestamp=now)


async def heartbeat(db: AsyncSession, module_id: str, told: Heartbeat) -> HealthRecord:
    """Keep what a registered module tells of itself; raises NotFound."""
    now = clock.now()
    statement = update(modules).where(modules.c.id == module_id).values(last_active=now)
    name = (await db.execute(statement.returning(modules.c.name))).scalar_one_or_none()
    if name is None:
        raise NotFound(f"There is no module {ascii(module_id)[:80]}.")
    return await write(db, module=name, status=told.status, details=told.details)


async def write(
    db: AsyncSession, *, module: str, status: str, details: dict[str, Any] | None
) -> HealthRecord:
    """Write a module's record over its last one."""
    row = {
        "module": module,
        "id": ids.uuid7(),
        "status": status,
        "details": details,
        "last_updated": clock.now(),
    }
    statement = insert(records).values(row)
    statement = statement.on_conflict_do_update(index_elements=["module"], set_=row)
    return _record((await db.execute(statement.returning(records))).one())


def _record(row: Any) -> HealthRecord:
    return HealthRecord(
        id=str(row.id),
        module=row.module,
        status=_status(row.status, row.last_updated, clock.now()),
        last_updated=row.last_updated,
        details=row.details,
    )


def _status(status: str, updated: datetime, now: datetime) -> str:
    return "offline" if now - updated > SILENT else status


class Keeper:
    """Writes down how COS itself is; a background part (see `cos.common.looper`)."""

    def __init__(self, *, sessions: async_sessionmaker[AsyncSession], monitor: Monitor) -> None:
        """Take what is needed.

        Args:
            sessions: makes a session.
            monitor: what measures.
        """
        self._sessions = sessions
        self._monitor = monitor
        self._written: State | None = None
        self._written_at = float("-inf")

    async def turn(self) -> float:
        """Write if the state has changed, or the last record is old; while Postgres is away there is nothing to do."""
        report = await self._monitor.report()
        due = clock.monotonic() - self._written_at >= KEEP_SECONDS
        if report.state is self._written and not due:
            return _LOOK_SECONDS
        if report.state is State.DOWN:
            self._written = None
            return _LOOK_SECONDS
        try:
            async with self._sessions() as db, db.begin():
                await write(db, module="cc", status=WORDS[report.state], details=_details(report))
        except CosError as error:
            _log.debug("health_not_kept", error=error.detail)
            return _LOOK_SECONDS
        self._written, self._written_at = report.state, clock.monotonic()
        return _LOOK_SECONDS


def _details(report: Report) -> dict[str, Any]:
    parts = {part.name: part.state.value for part in report.parts}
    return {"causes": report.causes, "parts": parts} if report.causes else {"parts": parts}
