"""The routes of tokens; all of them ask for the scope admin."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request

from cos.backend.access import service
from cos.backend.access.deps import AccessDb
from cos.backend.access.schemas import Name, TokenIn, TokenMade, TokenView
from cos.backend.auth.gate import grant_of
from cos.backend.deps import BoundedRoute, ReadDb, ServicesDep
from cos.backend.problems import problems

router = APIRouter(prefix="/cc/tokens", tags=["access"], route_class=BoundedRoute)

Which = Annotated[Name, Path(description="its id or its name")]


@router.post("", status_code=201, responses=problems(409, 413, 422, 503))
async def create_token(given: TokenIn, request: Request, db: AccessDb) -> TokenMade:
    """Make a token; this answer is the only time that its secret is shown."""
    return await service.create_token(db, given, by=grant_of(request).name or service.BY_HAND)


@router.get("", responses=problems(422, 503))
async def list_tokens(
    db: ReadDb, ended: Annotated[bool, Query(description="expired and revoked ones too")] = False
) -> list[TokenView]:
    """List the tokens, newest first, without their secrets."""
    return await service.list_tokens(db, ended=ended)


@router.get("/{which}", responses=problems(404, 422, 503))
async def get_token(which: Which, db: ReadDb) -> TokenView:
    """Give one token, without its secret."""
    return await service.get_token(db, which)


@router.delete("/{which}", responses=problems(404, 422, 503))
async def revoke_token(which: Which, request: Request, services: ServicesDep, db: AccessDb) -> TokenView:
    """Revoke a token: at once here, within two seconds in every other process of COS."""
    return await service.revoke_token(
        db, which, forget=services.grants.forget, by=grant_of(request).name or service.BY_HAND
    )
