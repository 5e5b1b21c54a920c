"""Webhooks: where events are posted to and how that goes, a page of them; and one with its last tries."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args
from urllib.parse import urlencode
from uuid import UUID

from cos.backend.dashboard.view import text_of
from cos.backend.webhooks import service
from cos.backend.webhooks.schemas import State
from cos.errors import BadInput

if TYPE_CHECKING:
    from cos.backend.dashboard.view import Asked
    from cos.common.session import Readable

#: Webhooks a page shows, and tries of one.
PAGE, ATTEMPTS = 50, 20
STATES: tuple[State, ...] = get_args(State)


async def load(asked: Asked) -> dict[str, Any]:
    """Read a page of webhooks, newest first."""
    query = text_of(asked.query, "state", "before")
    state = next((one for one in STATES if one == query["state"]), None)
    if query["state"] and state is None:
        raise BadInput(f"state={ascii(query['state'])[:40]} is none of {', '.join(STATES)}.")
    async with asked.services.reads.connect() as db:
        found = await service.find(db, state=state, before=_id(query["before"]), limit=PAGE)
    kept = {"state": state} if state else {}
    return {
        "query": query,
        "states": STATES,
        "webhooks": found.webhooks,
        "older": found.next and "/ui/webhooks?" + urlencode({**kept, "before": str(found.next)}),
        "first_url": "/ui/webhooks" + ("?" + urlencode(kept) if kept else ""),
    }


async def one(db: Readable, webhook_id: UUID) -> dict[str, Any]:
    """Read one and its last tries; raises NotFound."""
    webhook = await service.show(db, webhook_id)
    tries = await service.last_attempts(db, webhook_id, ATTEMPTS)
    return {"webhook": webhook, "attempts": tries.attempts}


def _id(text: str) -> UUID | None:
    try:
        return UUID(text) if text else None
    except ValueError:
        raise BadInput(f"before={ascii(text)[:60]} is not the id of a webhook.") from None
