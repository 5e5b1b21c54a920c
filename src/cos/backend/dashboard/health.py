"""The health of each part as the page shows it: a state, its cause, what COS does about it, and what was measured."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from cos.backend.dashboard import words
from cos.common import clock
from cos.common.circuit_breaker import State

if TYPE_CHECKING:
    from cos.backend.deps import Services
    from cos.memory.vitals import Vitals

#: A relay this far behind is worth a word.
LAG_SECONDS = 10.0
#: One measurement serves every viewer for so long.
FRESH_SECONDS = 1.0


@dataclass(frozen=True, kw_only=True)
class Part:
    """One part of COS; `state` is ok, degraded, down or unknown."""

    name: str
    title: str
    state: str
    cause: str | None = None
    doing: str | None = None
    facts: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, kw_only=True)
class Report:
    """All parts at one moment, and the causes of whatever does not work."""

    state: str
    parts: tuple[Part, ...]
    causes: tuple[str, ...]
    measured_at: datetime
    vitals: Vitals


class Pulse:
    """Measures at most once a second, whoever asks; what is asked meanwhile waits for the same measurement."""

    def __init__(self, services: Services) -> None:
        """Take what is measured."""
        self._services = services
        self._lock = asyncio.Lock()
        self._report: Report | None = None
        self._measured = float("-inf")

    async def report(self) -> Report:
        """Give the health of all parts; never raises."""
        async with self._lock:
            if self._report is None or clock.monotonic() - self._measured >= FRESH_SECONDS:
                vitals = await self._services.gauge.measure()
                self._report = _report(self._services, vitals)
                self._measured = clock.monotonic()
            return self._report


def _report(services: Services, vitals: Vitals) -> Report:
    parts = (_postgres(vitals), _redis(services, vitals), _relay(vitals))
    state = "down" if not vitals.postgres_answers else "degraded" if vitals.causes else "ok"
    return Report(
        state=state, parts=parts, causes=tuple(vitals.causes), measured_at=clock.now(), vitals=vitals
    )


def _cause(vitals: Vitals, name: str) -> str | None:
    return next((cause for cause in vitals.causes if name in cause), None)


def _postgres(vitals: Vitals) -> Part:
    if vitals.postgres_answers:
        return Part(name="postgres", title="Postgres", state="ok", facts=(("keeps", "the log"),))
    return Part(
        name="postgres",
        title="Postgres",
        state="down",
        cause=_cause(vitals, "Postgres"),
        doing="Nothing can be recorded until it answers; COS tries again by itself.",
    )


def _redis(services: Services, vitals: Vitals) -> Part:
    breaker = services.breaker.snapshot()
    facts = (("breaker", breaker.state.value.lower().replace("_", "-")),)
    if vitals.redis_answers:
        return Part(
            name="redis",
            title="Redis",
            state="ok",
            facts=facts if breaker.state != State.CLOSED else (("keeps", "the streams"),),
        )
    return Part(
        name="redis",
        title="Redis",
        state="down",
        cause=_cause(vitals, "Redis"),
        doing="Recording and reading go on; the streams catch up by themselves when it is back.",
        facts=facts,
    )


def _relay(vitals: Vitals) -> Part:
    if vitals.lag_events is None or vitals.lag_seconds is None:
        return Part(name="relay", title="Relay", state="unknown")
    late = vitals.lag_seconds > LAG_SECONDS
    facts = (("behind", f"{words.plural(vitals.lag_events, 'event')}, {words.duration(vitals.lag_seconds)}"),)
    return Part(
        name="relay",
        title="Relay",
        state="degraded" if late else "ok",
        cause="It is behind; an old open transaction may hold it back." if late else None,
        doing="It goes on as soon as that transaction ends." if late else None,
        facts=facts,
    )
