"""What a run of a test suite left behind: its failures with their exception chains, and how many tests there were."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Outcome = Literal["failed", "error"]
Phase = Literal["setup", "call", "teardown", "collect", ""]
Link = Literal["", "cause", "context", "member"]


@dataclass(frozen=True, slots=True)
class Frame:
    """One place in a traceback; `file` as the log names it, `line` from 1 (0: unknown)."""

    file: str
    line: int = 0
    function: str = ""
    source: str = ""


@dataclass(frozen=True, slots=True)
class Raised:
    """One exception of a chain, its frames from the outermost to the raising one.

    `link` says how the next, outer exception came of this one: `cause` (raise from), `context` (raised while this one
    was handled) or `member` (this one is inside the outer one, a group); empty for the outermost.
    """

    type: str
    message: str
    frames: tuple[Frame, ...] = ()
    link: Link = ""

    @property
    def name(self) -> str:
        """The type without its module."""
        return self.type.rpartition(".")[2]


@dataclass(frozen=True, slots=True)
class Failure:
    """A test that failed or errored; `chain` runs from the root of the exceptions to the outermost and may be empty."""

    test: str
    outcome: Outcome = "failed"
    phase: Phase = ""
    chain: tuple[Raised, ...] = ()
    calls: frozenset[str] = frozenset()
    duration_s: float = 0.0

    @property
    def file(self) -> str:
        """The file of the test, as its node id begins."""
        return self.test.partition("::")[0]


@dataclass(slots=True)
class Run:
    """One run of a suite as far as its record tells; a count that the record does not give is None."""

    source: str = ""
    total: int | None = None
    passed: int | None = None
    skipped: int = 0
    xfailed: int = 0
    failures: list[Failure] = field(default_factory=list)
    durations: dict[str, float] = field(default_factory=dict)
    outcomes: dict[str, str] = field(default_factory=dict)
    order: list[str] = field(default_factory=list)
    calls: dict[str, frozenset[str]] = field(default_factory=dict)
    duration_s: float = 0.0
    interrupted: bool = False
    leaks: list[str] = field(default_factory=list)
    output: str = ""

    @property
    def failing(self) -> set[str]:
        """Node ids of all tests (and files that do not collect) that failed or errored."""
        return {failure.test for failure in self.failures}

    @property
    def pass_rate(self) -> float | None:
        """Passed tests over all tests, skips and expected failures counted against it; None if not known."""
        if not self.total or self.passed is None:
            return None
        return self.passed / self.total
