"""The views of the dashboard: where each stands, what it loads, and which of its parts are live."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from cos.backend.cc import service as cc
from cos.backend.dashboard import log, words
from cos.backend.dashboard.flow import flows
from cos.backend.dashboard.health import Report
from cos.backend.dashboard.storage import storage
from cos.backend.deps import Services
from cos.errors import BadInput
from cos.memory.position import Position


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What a view is asked for: the services, this moment's health, and the query of its address."""

    services: Services
    report: Report
    query: Mapping[str, str]
    origin: str


Load = Callable[[Asked], Awaitable[dict[str, Any]]]


@dataclass(frozen=True, kw_only=True)
class View:
    """One page of the dashboard.

    Attributes:
        name: in its address.
        title: in the contents list.
        key: after `g`, leads to it.
        load: reads what its templates show.
        parts: of it that are brought up to date while it is looked at.
    """

    name: str
    title: str
    key: str
    load: Load
    parts: tuple[str, ...] = ()

    @property
    def path(self) -> str:
        """Where it stands."""
        return "/" if self.name == "overview" else f"/ui/{self.name}"


async def _overview(asked: Asked) -> dict[str, Any]:
    latest: list[log.Row] | None = None
    if asked.report.vitals.postgres_answers:
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
    return "Every event is announced." if lag == 0 else f"{words.plural(lag, 'event')} wait to be announced."


async def _events(asked: Asked) -> dict[str, Any]:
    query = {name: _clean(name, asked.query.get(name, "")) for name in ("module", "type", "subject", "holds")}
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
        "window": log.WINDOW,
        "first_url": "/ui/events" + ("?" + urlencode(kept) if kept else ""),
    }


def _clean(name: str, value: str) -> str:
    if "\x00" in value:
        raise BadInput(f"The filter {name} holds a NUL character, which no event has.")
    return value.strip()[:500]


#: Modules a page shows.
MODULES_PAGE = 100


async def load_modules(asked: Asked) -> dict[str, Any]:
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


async def _system(asked: Asked) -> dict[str, Any]:
    vitals = asked.report.vitals
    breaker = asked.services.breaker.snapshot()
    streams = [
        {"module": module, **{n: getattr(one, n) for n in ("length", "last_position", "generation")}}
        for module, one in sorted(vitals.streams.items())
    ]
    return {
        "streams": streams if vitals.redis_answers and vitals.postgres_answers else None,
        "breakers": [
            {
                "name": "Redis",
                "state": breaker.state.value.lower().replace("_", "-"),
                "failures": breaker.failure_count,
                "last_failure": breaker.last_failure_time,
            }
        ],
        "storage": await storage(asked.services),
    }


VIEWS = (
    View(
        name="overview",
        title="Overview",
        key="o",
        load=_overview,
        parts=("lede", "flow", "health", "latest"),
    ),
    View(name="events", title="Events", key="e", load=_events, parts=("stream",)),
    View(name="modules", title="Modules", key="m", load=load_modules, parts=("modules",)),
    View(name="system", title="System", key="s", load=_system, parts=("system",)),
)
BY_NAME = {view.name: view for view in VIEWS}
