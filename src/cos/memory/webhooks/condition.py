"""How the webhooks are, as a part of health: a disabled endpoint, or one that fails for long, is worth a word."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, or_, select
from sqlalchemy.exc import SQLAlchemyError

from cos.common import clock
from cos.common import db as database
from cos.common.health import Part, State
from cos.errors import CosError
from cos.memory.webhook_tables import endpoint
from cos.memory.webhooks import endpoints

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

#: Any endpoint fails now and then; this long is more than that.
LONG = timedelta(minutes=15)
_MOST_NAMED = 3
_STATES = ("active", "failing", "paused", "disabled")


class Condition:
    """Measures the webhooks; a source of the health monitor."""

    name = "webhooks"

    def __init__(self, *, sessions: async_sessionmaker[AsyncSession]) -> None:
        """Take what reads the log's database."""
        self._sessions = sessions

    async def measure(self) -> Sequence[Part]:
        """Count them by state; unknown while Postgres is away, which is told where it belongs."""
        ill = or_(endpoint.c.state == "disabled", endpoint.c.failing_since < clock.now() - LONG)
        ill &= endpoint.c.state != "paused"
        shown = (endpoint.c.id, endpoint.c.url, endpoint.c.state, endpoint.c.reason, endpoint.c.error)
        try:
            async with self._sessions() as db, db.begin():
                tally = await endpoints.tally(db)
                count = (await db.execute(select(func.count()).select_from(endpoint).where(ill))).scalar_one()
                rows = (
                    await db.execute(select(*shown).where(ill).order_by(endpoint.c.id).limit(_MOST_NAMED))
                ).all()
        except (CosError, SQLAlchemyError, *database.LOST):
            return [Part(name="webhooks", title="Webhooks", state=State.UNKNOWN)]
        figures = {state: float(tally.count(state)) for state in _STATES}
        if not rows:
            return [Part(name="webhooks", title="Webhooks", state=State.OK, figures=figures)]
        more = f" {count - len(rows)} more are not well." if count > len(rows) else ""
        return [
            Part(
                name="webhooks",
                title="Webhooks",
                state=State.DEGRADED,
                cause=" ".join(map(_told, rows)) + more,
                doing="What they did not get waits for them in the log; see cos webhook list, show and enable.",
                figures=figures,
            )
        ]


def _told(row: Any) -> str:
    where = row.url.partition("?")[0]
    if row.state == "disabled":
        return f"The webhook {row.id} to {where} is disabled: {_sentence(row.reason)}"
    return f"The webhook {row.id} to {where} has failed for long: {_sentence(row.error)}"


def _sentence(text: str | None) -> str:
    return f"{(text or 'no reason is kept').rstrip('.')}."
