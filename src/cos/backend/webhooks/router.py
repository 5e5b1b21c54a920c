"""The webhooks' routes."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Body, Query

from cos.backend.deps import BoundedRoute, ReadDb, ServicesDep
from cos.backend.problems import problems
from cos.backend.webhooks import service
from cos.backend.webhooks.deps import ChangingDb
from cos.backend.webhooks.schemas import (
    Attempt,
    Attempts,
    Begin,
    Exchange,
    State,
    Webhook,
    WebhookIn,
    WebhookMade,
    WebhookPatch,
    Webhooks,
    Why,
)

router = APIRouter(prefix="/cc/webhooks", tags=["webhooks"], route_class=BoundedRoute)


@router.post("", status_code=201, responses=problems(403, 409, 413, 422, 503))
async def create_webhook(given: WebhookIn, db: ChangingDb, services: ServicesDep) -> WebhookMade:
    """Have events posted to a URL; its secret is shown in this answer only."""
    await service.check(services, given.url)
    return await service.create(db, given)


@router.get("", responses=problems(422, 503))
async def list_webhooks(
    db: ReadDb,
    state: State | None = None,
    before: Annotated[
        UUID | None, Query(description="older than this one: `next` of the page before")
    ] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> Webhooks:
    """List webhooks, newest first: `next` of one page is `before` of the next."""
    return await service.find(db, state=state, before=before, limit=limit)


@router.get("/{webhook_id}", responses=problems(404, 422, 503))
async def show_webhook(webhook_id: UUID, db: ReadDb) -> Webhook:
    """Give one webhook: its state, how far it is, what is wrong."""
    return await service.show(db, webhook_id)


@router.patch("/{webhook_id}", responses=problems(403, 404, 413, 422, 503))
async def change_webhook(
    webhook_id: UUID, patch: WebhookPatch, db: ChangingDb, services: ServicesDep
) -> Webhook:
    """Change a webhook; what is left out stays."""
    if patch.url is not None:
        await service.check(services, patch.url)
    return await service.change(db, webhook_id, patch)


@router.delete("/{webhook_id}", responses=problems(404, 422, 503))
async def delete_webhook(webhook_id: UUID, db: ChangingDb) -> Webhook:
    """Delete a webhook and give it as it was; its dead letters stay."""
    return await service.remove(db, webhook_id)


@router.post("/{webhook_id}/pause", responses=problems(404, 409, 413, 422, 503))
async def pause_webhook(
    webhook_id: UUID, db: ChangingDb, why: Annotated[Why | None, Body()] = None
) -> Webhook:
    """Stop deliveries after the one under way; its place in the log stays."""
    return await service.pause(db, webhook_id, why or Why())


@router.post("/{webhook_id}/resume", responses=problems(404, 409, 413, 422, 503))
async def resume_webhook(
    webhook_id: UUID, db: ChangingDb, where: Annotated[Begin | None, Body()] = None
) -> Webhook:
    """Deliver again what was paused: from where it stood, or from now."""
    return await service.resume(db, webhook_id, where or Begin())


@router.post("/{webhook_id}/enable", responses=problems(404, 409, 413, 422, 503))
async def enable_webhook(
    webhook_id: UUID, db: ChangingDb, where: Annotated[Begin | None, Body()] = None
) -> Webhook:
    """Deliver again what COS disabled: from where it stood, or from now."""
    return await service.enable(db, webhook_id, where or Begin())


@router.post("/{webhook_id}/rotate", responses=problems(404, 409, 413, 422, 503))
async def rotate_secret(
    webhook_id: UUID, db: ChangingDb, services: ServicesDep, how: Annotated[Exchange | None, Body()] = None
) -> WebhookMade:
    """Exchange a webhook's secret, which is shown in this answer only; the old one signs too for a while."""
    overlap_seconds = services.webhooks.overlap_seconds
    return await service.rotate(db, webhook_id, how or Exchange(), overlap_seconds=overlap_seconds)


@router.get("/{webhook_id}/attempts", responses=problems(404, 422, 503))
async def list_attempts(
    webhook_id: UUID, db: ReadDb, limit: Annotated[int, Query(ge=1, le=1000)] = 20
) -> Attempts:
    """Give a webhook's last tries, newest first, each with its answer's status and time."""
    return await service.last_attempts(db, webhook_id, limit)


@router.post("/{webhook_id}/test", responses=problems(404, 422, 503))
async def test_webhook(webhook_id: UUID, services: ServicesDep) -> Attempt:
    """Send a `webhook.test` now, in whatever state the webhook is, and tell what came of it."""
    return await service.test(services, webhook_id)
