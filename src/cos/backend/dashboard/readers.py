"""Readers: the consumer groups and the projections, how far each is and how far behind."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cos.memory import groups, projections

if TYPE_CHECKING:
    from cos.backend.dashboard.view import Asked


async def load(asked: Asked) -> dict[str, Any]:
    """Measure every reader."""
    services = asked.services
    async with services.sessions() as db, db.begin():
        measured = await groups.measure(db, services.redis, services.streams)
        views = await projections.measure(db)
    return {"groups": measured, "projections": views}
