"""The control centre's routes."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.responses import PlainTextResponse

import cos
from cos.backend.auth.gate import grant_of
from cos.backend.auth.reserved import limits_for
from cos.backend.cc import health, ping, service
from cos.backend.cc import redis_health as redis
from cos.backend.cc.deps import CcDb
from cos.backend.cc.metrics import metrics_answer
from cos.backend.cc.schemas import (
    ConfigView,
    DebugLogIn,
    DebugLogOut,
    EnhancedHealth,
    HealthRecord,
    Heartbeat,
    Module,
    ModuleIn,
    ModulePatch,
    PingIn,
    PingOut,
    RedisHealth,
    Status,
    SystemHealth,
    Text,
)
from cos.backend.deps import BoundedRoute, ReadDb, ServicesDep
from cos.backend.problems import problems

router = APIRouter(prefix="/cc", tags=["control centre"], route_class=BoundedRoute)

MAX_SKIP = 2**63 - 1

ModuleId = Annotated[Text, Path(max_length=200)]


@router.get("/status")
async def status() -> Status:
    """Say that the process answers."""
    return Status()


@router.get("/config")
async def config(request: Request) -> ConfigView:
    """Give the version and the features that are loaded."""
    return ConfigView(version=cos.__version__, modules_loaded=list(request.app.state.features))


@router.get("/health/enhanced")
async def enhanced_health(services: ServicesDep) -> EnhancedHealth:
    """Measure Postgres, Redis and the breaker."""
    return await service.enhanced_health(services)


@router.get("/health", response_model_exclude_none=True, responses=problems(404, 503))
async def health_record(db: ReadDb) -> HealthRecord:
    """Give the last record of COS's own health."""
    return await health.latest(db)


@router.get("/system/health", responses=problems(503))
async def system_health(db: ReadDb) -> SystemHealth:
    """Give the health of every module that tells of itself."""
    return await health.system(db)


@router.post("/ping", responses=problems(413, 422, 503))
async def ping_module(given: PingIn, db: CcDb, services: ServicesDep, request: Request) -> PingOut:
    """Ask a module to answer: a real round trip."""
    return await ping.ping(db, services, given.module, request.app.state.features)


@router.get("/metrics", response_class=PlainTextResponse)
async def metrics(request: Request) -> Response:
    """Give the metrics in Prometheus's text format; `/metrics` is the same."""
    return metrics_answer(request)


@router.get("/debug/redis-health")
async def redis_health(services: ServicesDep) -> RedisHealth:
    """Measure Redis; the answer is always 200, and tells what is wrong."""
    return await redis.redis_health(services)


@router.post("/debug/log", status_code=201, responses=problems(400, 403, 413, 422, 503))
async def debug_log(given: DebugLogIn, request: Request, services: ServicesDep) -> DebugLogOut:
    """Record an event and read it back from its stream."""
    return await service.debug_log(services, given, limits_for(grant_of(request), services.limits))


@router.post("/modules", status_code=201, responses=problems(400, 409, 413, 422, 503))
async def create_module(given: ModuleIn, db: CcDb) -> Module:
    """Register a module; the change is itself an event."""
    return await service.create_module(db, given)


@router.get("/modules", responses=problems(422, 503))
async def list_modules(
    db: ReadDb,
    skip: Annotated[int, Query(ge=0, le=MAX_SKIP)] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> list[Module]:
    """List the modules, oldest first."""
    return await service.list_modules(db, skip=skip, limit=limit)


@router.post("/modules/{module_id}/heartbeat", responses=problems(404, 413, 422, 503))
async def heartbeat(module_id: ModuleId, told: Heartbeat, db: CcDb) -> HealthRecord:
    """Keep what a module tells of itself; one that is silent for 90 s is offline."""
    return await health.heartbeat(db, module_id, told)


@router.get("/modules/{module_id}", responses=problems(404, 422, 503))
async def get_module(module_id: ModuleId, db: ReadDb) -> Module:
    """Give one module."""
    return await service.get_module(db, module_id)


@router.patch("/modules/{module_id}", responses=problems(400, 404, 409, 413, 422, 503))
async def change_module(module_id: ModuleId, patch: ModulePatch, db: CcDb) -> Module:
    """Change a module; the change is itself an event."""
    return await service.change_module(db, module_id, patch)


@router.delete("/modules/{module_id}", responses=problems(404, 422, 503))
async def delete_module(module_id: ModuleId, db: CcDb) -> Module:
    """Remove a module; gives it as it was."""
    return await service.delete_module(db, module_id)
