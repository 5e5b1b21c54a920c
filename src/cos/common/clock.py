"""Time: the only place that reads the wall clock, so that a test can move it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """What tells the time."""

    def now(self) -> datetime:
        """Give the wall-clock time, aware, in UTC."""
        ...

    def monotonic(self) -> float:
        """Give seconds from an unknown start that never go back."""
        ...


class SystemClock:
    """The machine's own clocks."""

    def now(self) -> datetime:
        """Give the wall-clock time, aware, in UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Give seconds from an unknown start that never go back."""
        return time.monotonic()


_current: Clock = SystemClock()


def now() -> datetime:
    """Give the current clock's wall-clock time, aware, in UTC."""
    return _current.now()


def monotonic() -> float:
    """Give the current clock's seconds from an unknown start."""
    return _current.monotonic()


@contextmanager
def use_clock(clock: Clock) -> Iterator[None]:
    """Let another clock tell the time of the whole process inside the `with` block (for tests)."""
    global _current  # noqa: PLW0603  (the one switch that moves time)
    before, _current = _current, clock
    try:
        yield
    finally:
        _current = before
