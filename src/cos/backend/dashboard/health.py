"""The health of each part as the page shows it: a state, its cause, what COS does about it, and what was measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cos.backend.dashboard import words
from cos.common.circuit_breaker import State

if TYPE_CHECKING:
    from cos.backend.deps import Services
    from cos.memory.vitals import Vitals

#: A relay this far behind is worth a word.
LAG_SECONDS = 10.0


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
    vitals: Vitals


async def report(services: Services) -> Report:
    """Give the health of all parts, measured a moment ago at most; never raises."""
    vitals = await services.pulse.vitals()
    parts = (_postgres(vitals), _redis(services, vitals), _relay(vitals))
    behind = [f"The relay: {part.cause}" for part in parts if part.name == "relay" and part.cause]
    causes = (*dict.fromkeys(vitals.causes), *behind)
    state = "down" if not vitals.postgres_answers else "degraded" if causes else "ok"
    return Report(state=state, parts=parts, causes=causes, vitals=vitals)


def _cause(vitals: Vitals, name: str) -> str | None:
    return next((cause for cause in vitals.causes if name in cause), None)


def _postgres(vitals: Vitals) -> Part:
    if vitals.postgres_answers:
        facts = _facts(("keeps", "the log"), ("answers in", words.milliseconds(vitals.postgres_ms)))
        return Part(name="postgres", title="Postgres", state="ok", facts=facts)
    return Part(
        name="postgres",
        title="Postgres",
        state="down",
        cause=_cause(vitals, "Postgres"),
        doing="Nothing can be recorded until it answers. COS tries again by itself, and starts its own Postgres again.",
    )


def _redis(services: Services, vitals: Vitals) -> Part:
    breaker = services.breaker.snapshot()
    opened = None if breaker.state == State.CLOSED else breaker.state.value.lower().replace("_", "-")
    if vitals.redis_answers:
        facts = _facts(
            ("keeps", "the streams"), ("answers in", words.milliseconds(vitals.redis_ms)), ("breaker", opened)
        )
        return Part(name="redis", title="Redis", state="ok", facts=facts)
    return Part(
        name="redis",
        title="Redis",
        state="down",
        cause=_cause(vitals, "Redis"),
        doing="Recording and reading go on; the streams catch up by themselves when it is back.",
        facts=_facts(("breaker", opened)),
    )


def _relay(vitals: Vitals) -> Part:
    if vitals.lag_events is None or vitals.lag_seconds is None:
        doing = "It waits for Redis; no event is lost meanwhile." if not vitals.redis_answers else None
        return Part(name="relay", title="Relay", state="unknown", doing=doing)
    late = vitals.lag_seconds > LAG_SECONDS
    behind = "nothing" if vitals.lag_events == 0 else words.plural(vitals.lag_events, "event")
    oldest = None if vitals.lag_events == 0 else words.duration(vitals.lag_seconds)
    return Part(
        name="relay",
        title="Relay",
        state="degraded" if late else "ok",
        cause="It is behind; an old open transaction may hold it back." if late else None,
        doing="It goes on by itself as soon as that transaction ends." if late else None,
        facts=_facts(("waits to be announced", behind), ("the oldest since", oldest)),
    )


def _facts(*facts: tuple[str, str | None]) -> tuple[tuple[str, str], ...]:
    return tuple((name, value) for name, value in facts if value is not None)
