"""What health is made of: the state of each part, its cause in words, and what COS does about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Protocol


class State(StrEnum):
    """How a part is. `unknown` is said of what could not be measured; nothing is guessed."""

    OK = "ok"
    DEGRADED = "degraded"
    DOWN = "down"
    UNKNOWN = "unknown"


@dataclass(frozen=True, kw_only=True)
class Part:
    """One part of COS at one moment.

    Attributes:
        name: short and stable, for programs.
        title: for people.
        state: of this part alone.
        vital: whether COS is down without it, because it could not record.
        cause: what is wrong, in a sentence; None when nothing is.
        doing: what COS does about it, or what a person can do; None when nothing is wrong.
        figures: what was measured, by name with its unit last.
        since: when it came into this state, as far as this process has seen.
    """

    name: str
    title: str
    state: State
    vital: bool = False
    cause: str | None = None
    doing: str | None = None
    figures: Mapping[str, float] = field(default_factory=dict)
    since: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class Report:
    """All parts at one moment.

    Attributes:
        state: down when a vital part is, degraded when any other part is not well, else ok.
        parts: in the order of the sources that measured them.
        measured_at: when.
    """

    state: State
    parts: tuple[Part, ...]
    measured_at: datetime

    @property
    def causes(self) -> list[str]:
        """What is wrong, each in a sentence, the gravest first."""
        graver = sorted(self.parts, key=lambda part: (part.state is not State.DOWN, not part.vital))
        return list(dict.fromkeys(part.cause for part in graver if part.cause))

    def part(self, name: str) -> Part | None:
        """Give the part of that name."""
        return next((part for part in self.parts if part.name == name), None)


class Source(Protocol):
    """What measures some parts."""

    name: str

    async def measure(self) -> Sequence[Part]:
        """Measure now; may raise, which makes the parts unknown."""
        ...


def state_of(parts: Sequence[Part]) -> State:
    """Give the state of the whole."""
    if any(part.vital and part.state is State.DOWN for part in parts):
        return State.DOWN
    if any(part.state in (State.DOWN, State.DEGRADED) for part in parts):
        return State.DEGRADED
    return State.OK
