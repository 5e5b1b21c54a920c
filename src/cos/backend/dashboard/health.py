"""The health of each part as the page shows it: a state, its cause, what COS does about it, and what was measured."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cos.backend.dashboard import words
from cos.common import health

if TYPE_CHECKING:
    from cos.backend.deps import Services
    from cos.memory.vitals import Vitals

#: A measurement serves every viewer for so long.
FRESH_SECONDS = 0.9


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
    """All parts at one moment, the causes of whatever does not work, and how many dead letters wait for a person."""

    state: str
    parts: tuple[Part, ...]
    causes: tuple[str, ...]
    vitals: Vitals
    dead: int | None


async def report(services: Services) -> Report:
    """Give the health of all parts, measured a moment ago at most; never raises."""
    found = await services.monitor.report(fresh_seconds=FRESH_SECONDS)
    readers = found.part("readers")
    return Report(
        state=found.state.value,
        parts=tuple(_shown(part) for part in found.parts),
        causes=tuple(found.causes),
        vitals=services.signs.last,
        dead=None if readers is None else int(readers.figures.get("dead_letters", 0)),
    )


def _shown(part: health.Part) -> Part:
    facts = tuple(
        (name, said)
        for figure, name, tell in _FACTS
        if figure in part.figures and (said := tell(part.figures[figure])) is not None
    )
    return Part(
        name=part.name,
        title=part.title,
        state=part.state.value,
        cause=part.cause,
        doing=part.doing,
        facts=facts,
    )


def _events(number: float) -> str:
    return "nothing" if number == 0 else words.plural(int(number), "event")


#: States of webhooks that are told where there is one.
_UNWELL = ("failing", "paused", "disabled")

#: What is told of a part's figures, in this order: the figure's name, its words, and how its value is said.
_FACTS: tuple[tuple[str, str, Callable[[float], str | None]], ...] = (
    ("records", "events in the log", lambda value: words.number(int(value))),
    ("answer_ms", "answers in", words.milliseconds),
    ("breaker_failures", "failures in a row", lambda value: words.number(int(value)) if value else None),
    ("lag_events", "waits to be announced", _events),
    ("lag_seconds", "the oldest since", lambda value: words.duration(value) if value else None),
    ("loop_late_ms", "its event loop is late by", words.milliseconds),
    ("groups", "groups", lambda value: words.number(int(value))),
    ("projections", "projections", lambda value: words.number(int(value))),
    ("dead_letters", "dead letters", lambda value: words.number(int(value))),
    ("active", "in use", lambda value: words.number(int(value))),
    *((state, state, lambda value: words.number(int(value)) if value else None) for state in _UNWELL),
    ("free_bytes", "free", lambda value: words.size(int(value))),
)
