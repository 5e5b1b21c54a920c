"""The overview: the state in a sentence, the flow, the health of each part, the newest events."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from sqlalchemy.exc import SQLAlchemyError

from cos.backend.dashboard import log, words
from cos.backend.dashboard.flow import flows
from cos.common import db as database
from cos.errors import CosError

if TYPE_CHECKING:
    from cos.backend.dashboard.health import Report
    from cos.backend.dashboard.view import Asked


async def load(asked: Asked) -> dict[str, Any]:
    """Read what the overview shows; it stands without Postgres too."""
    latest: list[log.Row] | None = None
    if asked.report.vitals.postgres_answers:
        # It may have gone since it was measured; then the next measurement says why.
        with suppress(CosError, SQLAlchemyError, *database.LOST):
            async with asked.services.sessions() as db, db.begin():
                latest = (await log.find(db, log.Filter(), limit=8)).rows
    return {
        "headline": _headline(asked.report),
        "lede": _lede(asked.report, latest),
        "latest": latest,
        "empty": latest == [],
        "plots": flows(asked.services.monitor.history()),
        "origin": asked.origin,
    }


def _headline(report: Report) -> str:
    return {
        "ok": "Everything works.",
        "degraded": "COS records, but something does not work.",
    }.get(report.state, "COS cannot record at the moment.")


def _lede(report: Report, latest: list[log.Row] | None) -> str:
    if latest is None:
        return "What is recorded is safe; it cannot be read until Postgres answers."
    if not latest:
        return "Nothing is recorded yet."
    lag = report.vitals.lag_events
    if lag is None:
        return "What is recorded is safe; it is announced when the streams can be reached."
    if lag == 0:
        return "Every event is announced."
    return f"{words.plural(lag, 'event')} {'waits' if lag == 1 else 'wait'} to be announced."
