"""How the readers stand, as a part of health: projections that stopped, and dead letters that wait for a person."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sqlalchemy import func, select
from sqlalchemy.exc import SQLAlchemyError

from cos.common import db as database
from cos.common.health import Part, State
from cos.errors import CosError
from cos.memory.highway_tables import consumer_group, dead_letter, projection

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

#: Past so many letters the exact number is not worth its cost.
MOST_LETTERS = 1000
_MOST_NAMED = 5

_WAITING = select(dead_letter.c.id).where(dead_letter.c.state == "dead").limit(MOST_LETTERS).subquery()
_COUNTS = (
    ("groups", select(func.count()).select_from(consumer_group)),
    ("projections", select(func.count(projection.c.name.distinct()))),
    ("dead_letters", select(func.count()).select_from(_WAITING)),
)
_FAILED = (
    select(projection.c.name, projection.c.error)
    .where(projection.c.state == "failed")
    .order_by(projection.c.name)
    .limit(_MOST_NAMED)
)


class Standing:
    """Measures the readers; a source of the health monitor."""

    name = "readers"

    def __init__(self, *, sessions: async_sessionmaker[AsyncSession]) -> None:
        """Take what reads the log's database."""
        self._sessions = sessions

    async def measure(self) -> Sequence[Part]:
        """Count them; unknown while Postgres is away, which is told where it belongs."""
        try:
            async with self._sessions() as db, db.begin():
                figures = {name: float((await db.execute(count)).scalar_one()) for name, count in _COUNTS}
                failed = (await db.execute(_FAILED)).all()
        except (CosError, SQLAlchemyError, *database.LOST):
            return [Part(name="readers", title="Readers", state=State.UNKNOWN)]
        if not failed:
            return [Part(name="readers", title="Readers", state=State.OK, figures=figures)]
        said = "; ".join(
            f"the projection {row.name} has stopped ({row.error or 'no error is kept'})" for row in failed
        )
        return [
            Part(
                name="readers",
                title="Readers",
                state=State.DEGRADED,
                cause=f"{said[:1].upper()}{said[1:]}.",
                doing="It keeps what it has, and waits until a person resumes or rebuilds it.",
                figures=figures,
            )
        ]
