"""What the control centre does, without HTTP."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

import msgspec
from redis.exceptions import ResponseError
from sqlalchemy import delete, insert, select, update
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from cos.backend.cc.health import WORDS
from cos.backend.cc.logging import LIMITS, log_l1
from cos.backend.cc.redis_health import breaker_state
from cos.backend.cc.schemas import (
    DeadLetters,
    DebugLogIn,
    DebugLogOut,
    EnhancedHealth,
    LogIds,
    Module,
    ModuleIn,
    ModulePatch,
    RedisValidation,
)
from cos.backend.cc.tables import module as modules
from cos.common import clock, ids
from cos.common import redis as redis_client
from cos.common.circuit_breaker import BreakerOpen
from cos.common.health import Report, State
from cos.errors import BadInput, Conflict, CosError, NotFound
from cos.memory import letters
from cos.memory.streams import FIELD

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

    from cos.backend.cc.logging import L1Ids
    from cos.backend.deps import Services
    from cos.common.session import Readable
    from cos.memory.event import Limits

READ_BACK_SECONDS = 2.0
_READ_BACK_POLL_SECONDS = 0.002


async def create_module(db: AsyncSession, given: ModuleIn) -> Module:
    """Register a module; raises Conflict when the name is taken."""
    row = {
        "id": str(ids.uuid7()),
        "active": True,
        "last_active": None,
        "created_at": clock.now(),
        **given.model_dump(),
    }
    try:
        async with db.begin_nested():
            await db.execute(insert(modules).values(row))
    except IntegrityError:
        raise _name_taken(given.name) from None
    made = Module.model_validate(row)
    await log_l1(db, "module.created", made.model_dump(mode="json"), subject=made.id)
    return made


async def list_modules(db: Readable, *, skip: int, limit: int) -> list[Module]:
    """Give the modules in the order in which they were registered."""
    found = await db.execute(
        select(modules).order_by(modules.c.created_at, modules.c.id).offset(skip).limit(limit)
    )
    return [Module.model_validate(row) for row in found]


async def get_module(db: Readable, module_id: str) -> Module:
    """Give one module; raises NotFound."""
    found = (await db.execute(select(modules).where(modules.c.id == module_id))).one_or_none()
    if found is None:
        raise _no_module(module_id)
    return Module.model_validate(found)


async def change_module(db: AsyncSession, module_id: str, patch: ModulePatch) -> Module:
    """Change what the patch names; raises NotFound, Conflict, or BadInput for a null where none can be."""
    changes = patch.model_dump(exclude_unset=True)
    for name in ("name", "version", "active"):
        if name in changes and changes[name] is None:
            raise BadInput(f"The module's {name} cannot be null; leave it out to keep it.")
    if not changes:
        return await get_module(db, module_id)
    statement = update(modules).where(modules.c.id == module_id).values(changes).returning(modules)
    try:
        async with db.begin_nested():
            changed = (await db.execute(statement)).one_or_none()
    except IntegrityError:
        raise _name_taken(changes["name"]) from None
    if changed is None:
        raise _no_module(module_id)
    made = Module.model_validate(changed)
    await log_l1(db, "module.changed", made.model_dump(mode="json"), subject=made.id)
    return made


async def delete_module(db: AsyncSession, module_id: str) -> Module:
    """Remove a module and give it as it was; raises NotFound."""
    gone = (
        await db.execute(delete(modules).where(modules.c.id == module_id).returning(modules))
    ).one_or_none()
    if gone is None:
        raise _no_module(module_id)
    was = Module.model_validate(gone)
    await log_l1(db, "module.deleted", was.model_dump(mode="json"), subject=was.id)
    return was


async def enhanced_health(services: Services) -> EnhancedHealth:
    """Measure every part now."""
    report = await services.monitor.measure()
    return EnhancedHealth(
        status=WORDS[report.state],
        timestamp=report.measured_at,
        circuit_breaker_state=breaker_state(services),
        dlq_metrics=await _dead_letters(services) if _answers(report, "postgres") else [],
        uptime_seconds=round(clock.monotonic() - services.started_at_seconds, 3),
        redis_connected=_answers(report, "redis"),
        causes=report.causes,
    )


def _answers(report: Report, name: str) -> bool:
    part = report.part(name)
    return part is not None and part.state in (State.OK, State.DEGRADED)


async def _dead_letters(services: Services) -> list[DeadLetters]:
    """Count what each consumer group has buried and nobody has decided about; nothing where that cannot be asked."""
    try:
        async with services.sessions() as db:
            tallies = await letters.tallies(db)
    except (CosError, SQLAlchemyError, OSError):
        return []  # Postgres went away since it was measured: the next answer says so
    return [
        DeadLetters(
            size=one.dead + one.queued,
            channel=one.group,
            oldest_message_time=one.oldest,
            newest_message_time=one.newest,
        )
        for one in tallies
    ]


async def debug_log(services: Services, given: DebugLogIn, limits: Limits) -> DebugLogOut:
    """Write an event in a transaction of its own, and follow it into its stream."""
    began = clock.monotonic()
    async with services.sessions() as db, db.begin():
        db.info[LIMITS] = limits
        written = await log_l1(
            db,
            given.event_type,
            given.payload,
            given.prompt_data,
            given.request_id,
            given.trace_id,
        )
    committed = clock.monotonic()
    validation = await _read_back(services, written)
    return DebugLogOut(
        success=True,
        message="recorded and announced" if validation.publish_success else "recorded; not announced yet",
        log_ids=LogIds(
            base_log_id=str(written.base_log_id),
            event_log_id=str(written.event_log_id),
            prompt_trace_id=None if written.prompt_trace_id is None else str(written.prompt_trace_id),
        ),
        performance_ms=round((committed - began) * 1000, 3),
        redis_validation=validation,
    )


async def _read_back(services: Services, written: L1Ids) -> RedisValidation:
    """Wait until the relay has put the record into its stream, and give the entry that stands there."""
    began = clock.monotonic()
    streams = services.streams

    async def entry() -> dict[bytes, bytes] | None:
        number = await streams.generation()
        return None if number is None else await streams.entry("cc", number, written.position)

    try:
        async with asyncio.timeout(READ_BACK_SECONDS):
            while (found := await services.breaker.call(entry)) is None:
                # Looked at here too: a cancellation that comes with an answer can be swallowed on the way (3.11).
                if clock.monotonic() - began >= READ_BACK_SECONDS:
                    raise TimeoutError  # noqa: TRY301  (the same end as the timeout's own)
                await asyncio.sleep(_READ_BACK_POLL_SECONDS)
    except TimeoutError:
        return RedisValidation(
            publish_success=False,
            connection_status="connected",
            error_details=f"The relay did not announce the event within {READ_BACK_SECONDS:g} s; it will.",
        )
    except BreakerOpen as error:
        return RedisValidation(
            publish_success=False, connection_status="disconnected", error_details=error.detail
        )
    except redis_client.LOST as error:
        refused = isinstance(error, ResponseError)
        return RedisValidation(
            publish_success=False,
            connection_status="error" if refused else "disconnected",
            error_details=redis_client.connect_error(services.redis_url, error).detail,
        )
    latency_ms = round((clock.monotonic() - began) * 1000, 3)
    message = cast("dict[str, Any]", msgspec.json.decode(found[FIELD.encode()]))
    return RedisValidation(
        publish_success=True,
        published_message=message,
        redis_latency_ms=latency_ms,
        connection_status="connected",
    )


def _no_module(module_id: str) -> NotFound:
    return NotFound(f"There is no module {ascii(module_id)[:80]}.")


def _name_taken(name: str) -> Conflict:
    return Conflict(
        f"A module named {ascii(name)[:80]} exists already; choose another name or change that one."
    )
