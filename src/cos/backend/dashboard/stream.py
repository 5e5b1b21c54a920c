"""The event stream: a page of the log, filtered."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from cos.backend.dashboard import log
from cos.backend.dashboard.view import text_of
from cos.memory.position import Position

if TYPE_CHECKING:
    from cos.backend.dashboard.view import Asked


async def load(asked: Asked) -> dict[str, Any]:
    """Read a page of the log."""
    query = text_of(asked.query, "module", "type", "subject", "holds")
    given = asked.query.get("before") or ""
    before = Position.parse(given) if given else None
    wanted = log.Filter(**query, before=before)
    async with asked.services.sessions() as db, db.begin():
        found = await log.find(db, wanted)
        modules = await log.modules(db)
    kept = {name: value for name, value in query.items() if value}
    return {
        "query": {**query, "before": given},
        "filtered": bool(kept),
        "modules": modules,
        "events": found.rows,
        "newest": found.rows[0].position if found.rows else "",
        "older": found.older and "/ui/events?" + urlencode({**kept, "before": str(found.older)}),
        "searched_out": found.searched_out,
        "window": wanted.window,
        "first_url": "/ui/events" + ("?" + urlencode(kept) if kept else ""),
    }
