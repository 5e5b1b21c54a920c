"""Scratch notes: a page of them by key, and one whole."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from sqlalchemy import func, or_, select

from cos.backend.dashboard.view import text_of
from cos.backend.scratch.tables import note
from cos.common import clock

if TYPE_CHECKING:
    from cos.backend.dashboard.view import Asked

#: Notes a page shows.
PAGE = 50
#: Characters of a note that a list shows.
_EXCERPT = 240


async def load(asked: Asked) -> dict[str, Any]:
    """Read a page of living notes in the order of their keys; its cost does not grow with how deep it lies."""
    query = text_of(asked.query, "prefix", "after")
    shown = (note.c.id, note.c.key, func.left(note.c.content, _EXCERPT).label("excerpt"))
    statement = select(*shown, note.c.created_at, note.c.expires_at).order_by(note.c.key).limit(PAGE + 1)
    statement = statement.where(or_(note.c.expires_at.is_(None), note.c.expires_at > clock.now()))
    if query["prefix"]:
        statement = statement.where(note.c.key.startswith(query["prefix"], autoescape=True))
    if query["after"]:
        statement = statement.where(note.c.key > query["after"])
    async with asked.services.sessions() as db, db.begin():
        rows = (await db.execute(statement)).all()
    kept = {"prefix": query["prefix"]} if query["prefix"] else {}
    more = len(rows) > PAGE
    return {
        "query": query,
        "notes": rows[:PAGE],
        "next_url": "/ui/notes?" + urlencode({**kept, "after": rows[PAGE - 1].key}) if more else None,
        "first_url": "/ui/notes" + ("?" + urlencode(kept) if kept else ""),
    }
