"""What a person does with tokens on the page: each act calls the service that the API calls."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from cos.backend.access import service
from cos.backend.access.schemas import TokenIn
from cos.backend.auth.gate import grant_of
from cos.backend.dashboard.acted import acted
from cos.backend.dashboard.forms import filled
from cos.backend.dashboard.route import PageRoute
from cos.backend.deps import ServicesDep, transaction

router = APIRouter(route_class=PageRoute, include_in_schema=False)


@router.post("/ui/access")
async def create_token(request: Request, services: ServicesDep) -> Response:
    """Make a token and show its secret, this once."""
    given = await filled(request, TokenIn)
    async with transaction(services) as db:
        made = await service.create_token(db, given, by=grant_of(request).name or service.BY_HAND)
    return await acted(request, "access", f"The token {made.name} is made. Its secret:", secret=made.token)


@router.post("/ui/access/{token_id}/revoke")
async def revoke_token(request: Request, token_id: str, services: ServicesDep) -> Response:
    """Revoke a token, once and for all."""
    async with transaction(services) as db:
        by = grant_of(request).name or service.BY_HAND
        gone = await service.revoke_token(db, token_id, forget=services.grants.forget, by=by)
    return await acted(request, "access", f"The token {gone.name} is revoked.")
