"""Dead letters: what a reader could not handle, a page of them; and one whole."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode
from uuid import UUID

from cos.backend.dashboard.view import text_of
from cos.errors import BadInput
from cos.memory import letters
from cos.memory.position import Position

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy.ext.asyncio import AsyncSession

    from cos.backend.dashboard.view import Asked

#: Letters a page shows.
PAGE = 50


def wanted(query: Mapping[str, str]) -> letters.Filter:
    """Give which letters a query means; raises BadInput."""
    given = text_of(query, "group", "type", "subject", "state")
    if given["state"] and given["state"] not in letters.STATES:
        raise BadInput(f"state={ascii(given['state'])[:40]} is none of {', '.join(letters.STATES)}.")
    return letters.Filter(
        group=given["group"] or None,
        type=given["type"] or None,
        subject=given["subject"] or None,
        state=given["state"] or None,
    )


async def load(asked: Asked) -> dict[str, Any]:
    """Read a page of letters, newest first, and how many each reader has."""
    query = text_of(asked.query, "group", "type", "subject", "state")
    given = text_of(asked.query, "before")["before"]
    async with asked.services.sessions() as db, db.begin():
        rows = await letters.page(db, wanted(asked.query), before=_id(given), limit=PAGE + 1)
        tallies = await letters.tallies(db)
    kept = {name: value for name, value in query.items() if value}
    older = str(rows[PAGE - 1].id) if len(rows) > PAGE else None
    return {
        "query": {**query, "before": given},
        "kept": urlencode(kept),
        "filtered": bool(kept),
        "states": letters.STATES,
        "tallies": tallies,
        "letters": rows[:PAGE],
        "older": older and "/ui/letters?" + urlencode({**kept, "before": older}),
        "first_url": "/ui/letters" + ("?" + urlencode(kept) if kept else ""),
    }


def _id(text: str) -> UUID | None:
    try:
        return UUID(text) if text else None
    except ValueError:
        raise BadInput(f"before={ascii(text)[:60]} is not the id of a dead letter.") from None


async def one(db: AsyncSession, letter_id: UUID) -> dict[str, Any]:
    """Read one letter whole; raises NotFound."""
    row = await letters.get(db, letter_id)
    return {"letter": row, "position": Position(int(row.xact), row.seq)}
