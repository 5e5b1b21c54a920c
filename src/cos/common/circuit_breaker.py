"""A circuit breaker: stops calling a server that fails, and lets one call at a time find out whether it is back.

States, and who moves them:

- *closed*: calls pass. `failure_threshold` failures in a row open it.
- *open*: calls are refused at once, until `reset_seconds` have passed since the last failure.
- *half-open*: exactly one call, the probe, passes; others are refused. Its success closes, its failure opens again.
  A probe that is cancelled proves nothing: the next call becomes the probe.

Slow calls count as failures, also when their caller loses patience and cancels them: a server that hangs would
otherwise never be told from one that works.

A call that began before the breaker opened, and ends after, moves nothing: what it tells is old.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TypeVar

from cos.common import clock
from cos.errors import BadSetting, Unavailable

T = TypeVar("T")


class State(StrEnum):
    """What the breaker does with a call."""

    CLOSED = "CLOSED"
    OPEN = "OPEN"
    HALF_OPEN = "HALF_OPEN"


class BreakerOpen(Unavailable):
    """The server failed repeatedly and is left alone for a moment."""

    slug = "breaker-open"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What the breaker knows at one moment; times are None when they do not apply."""

    state: State
    failure_count: int
    last_failure_time: datetime | None
    next_attempt_time: datetime | None


@dataclass(slots=True)
class Counts:
    """What has happened since the breaker was made.

    Attributes:
        calls: that were let through.
        refused: that were not.
        failures: of those let through, slow ones included.
        slow: that took longer than allowed.
        opened: how often it stopped letting calls through, failed probes included.
        closed: how often it began to again.
    """

    calls: int = 0
    refused: int = 0
    failures: int = 0
    slow: int = 0
    opened: int = 0
    closed: int = 0


class CircuitBreaker:
    """Guards the calls to one server. Not thread-safe: it belongs to one event loop."""

    def __init__(
        self,
        *,
        name: str,
        failures: tuple[type[Exception], ...],
        failure_threshold: int = 5,
        reset_seconds: float = 1.0,
        slow_seconds: float | None = None,
    ) -> None:
        """Set it up, closed.

        Args:
            name: of the server, for messages.
            failures: exceptions that count against the server; any other passes through as a success.
            failure_threshold: failures in a row that open it, at least 1.
            reset_seconds: how long it stays open, above 0.
            slow_seconds: a call that takes longer counts as a failure, cancelled or not; None for no limit.

        Raises:
            BadSetting: a number is out of range.
        """
        if failure_threshold < 1 or reset_seconds <= 0:
            raise BadSetting(
                f"A breaker needs a failure threshold of at least 1 and a reset above 0 s, "
                f"not {failure_threshold} and {reset_seconds:g}."
            )
        self.name = name
        self._failures = failures
        self._failure_threshold = failure_threshold
        self._reset_seconds = reset_seconds
        self._slow_seconds = slow_seconds
        self._count = 0
        self._opened_at: float | None = None
        self._last_failure: datetime | None = None
        self._probing = False
        self.counts = Counts()

    @property
    def state(self) -> State:
        """Give the state at this moment."""
        if self._opened_at is None:
            return State.CLOSED
        if self._probing or clock.monotonic() - self._opened_at >= self._reset_seconds:
            return State.HALF_OPEN
        return State.OPEN

    def snapshot(self) -> Snapshot:
        """Give all that is known, for health and metrics."""
        state = self.state
        due = None
        if state is State.OPEN and self._last_failure is not None:
            due = self._last_failure + timedelta(seconds=self._reset_seconds)
        return Snapshot(state, self._count, self._last_failure, due)

    async def call(self, function: Callable[[], Awaitable[T]]) -> T:
        """Call the server, or refuse.

        Args:
            function: makes the call; it is not invoked when the breaker refuses.

        Raises:
            BreakerOpen: the call was refused.
        """
        if self._opened_at is not None:
            return await self._probe(function)
        return await self._watched(function, during=None)

    async def _probe(self, function: Callable[[], Awaitable[T]]) -> T:
        if self.state is State.OPEN or self._probing:
            self.counts.refused += 1
            raise BreakerOpen(
                f"{self.name} failed {self._count} times in a row and is left alone for a moment."
            )
        self._probing = True
        try:
            return await self._watched(function, during=self._opened_at)
        finally:
            self._probing = False

    async def _watched(self, function: Callable[[], Awaitable[T]], *, during: float | None) -> T:
        """Call and draw the conclusion, unless the breaker has opened, or opened again, since the call began."""
        self.counts.calls += 1
        began = 0.0 if self._slow_seconds is None else clock.monotonic()
        try:
            result = await function()
        except self._failures:
            self._was_slow(began)
            self._failed(during)
            raise
        except Exception:
            self._ended(during, began)
            raise
        except BaseException:
            if self._was_slow(began):
                self._failed(during)
            raise
        self._ended(during, began)
        return result

    def _was_slow(self, began: float) -> bool:
        slow = self._slow_seconds is not None and clock.monotonic() - began > self._slow_seconds
        self.counts.slow += slow
        return slow

    def _ended(self, during: float | None, began: float) -> None:
        if self._was_slow(began):
            self._failed(during)
        else:
            self._succeeded(during)

    def _failed(self, during: float | None) -> None:
        self.counts.failures += 1
        if self._opened_at != during:
            return
        self._count += 1
        self._last_failure = clock.now()
        if self._count >= self._failure_threshold:
            self._opened_at = clock.monotonic()
            self.counts.opened += 1

    def _succeeded(self, during: float | None) -> None:
        if self._opened_at != during:
            return
        self._count = 0
        if self._opened_at is not None:
            self._opened_at = None
            self.counts.closed += 1
