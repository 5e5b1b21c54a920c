"""The registered modules, a page of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cos.backend.cc import service as cc
from cos.errors import BadInput

if TYPE_CHECKING:
    from cos.backend.dashboard.view import Asked

#: Modules a page shows.
MODULES_PAGE = 100


async def load(asked: Asked) -> dict[str, Any]:
    """Give the registered modules."""
    skip = _skip(asked.query.get("skip", "0"))
    async with asked.services.sessions() as db, db.begin():
        items = await cc.list_modules(db, skip=skip, limit=MODULES_PAGE + 1)
    more = len(items) > MODULES_PAGE
    return {
        "items": items[:MODULES_PAGE],
        "next_url": f"/ui/modules?skip={skip + MODULES_PAGE}" if more else None,
    }


def _skip(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 9:  # noqa: PLR2004  (more modules than anybody has)
        raise BadInput(f"skip={ascii(text)[:40]} is not a number of modules to pass over.")
    return int(text)
