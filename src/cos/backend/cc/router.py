"""The control centre's routes."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request

import cos
from cos.backend.cc import service
from cos.backend.cc.deps import CcDb
from cos.backend.cc.schemas import (
    ConfigView,
    DebugLogIn,
    DebugLogOut,
    EnhancedHealth,
    Module,
    ModuleIn,
    ModulePatch,
    Status,
    Text,
)
from cos.backend.deps import BoundedRoute, ServicesDep
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


@router.post("/debug/log", status_code=201, responses=problems(400, 413, 422, 503))
async def debug_log(given: DebugLogIn, services: ServicesDep) -> DebugLogOut:
    """Record an event and read it back from its stream."""
    return await service.debug_log(services, given)


@router.post("/modules", status_code=201, responses=problems(400, 409, 413, 422, 503))
async def create_module(given: ModuleIn, db: CcDb) -> Module:
    """Register a module; the change is itself an event."""
    return await service.create_module(db, given)


@router.get("/modules", responses=problems(422, 503))
async def list_modules(
    db: CcDb,
    skip: Annotated[int, Query(ge=0, le=MAX_SKIP)] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> list[Module]:
    """List the modules, oldest first."""
    return await service.list_modules(db, skip=skip, limit=limit)


@router.get("/modules/{module_id}", responses=problems(404, 422, 503))
async def get_module(module_id: ModuleId, db: CcDb) -> Module:
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
