"""What waits for a person: dead letters, counted up to a bound."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import func, select
from sqlalchemy.exc import SQLAlchemyError

from cos.common import db as database
from cos.memory.highway_tables import dead_letter

if TYPE_CHECKING:
    from cos.backend.deps import Services

#: Past so many letters the exact number is not worth its cost.
MOST = 1000


async def waiting(services: Services) -> int | None:
    """Count the letters that nobody has decided about, up to MOST; None while Postgres does not answer."""
    dead = select(dead_letter.c.id).where(dead_letter.c.state == "dead").limit(MOST).subquery()
    try:
        async with services.sessions() as db, db.begin():
            return (await db.execute(select(func.count()).select_from(dead))).scalar_one()
    except (SQLAlchemyError, *database.LOST):
        return None
