"""A circuit breaker: stops calling a server that fails, and lets one call at a time find out whether it is back.

States, and who moves them:

- *closed*: calls pass. `failure_threshold` failures in a row open it.
- *open*: calls are refused at once, until `reset_seconds` have passed since the last failure.
- *half-open*: exactly one call, the probe, passes; others are refused. Its success closes, its failure opens again.
  A probe that is cancelled proves nothing: the next call becomes the probe.

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
            slow_seconds: a call that takes longer counts as a failure; None for no limit.

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
        self.failures_total = 0

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
        began = clock.monotonic()
        try:
            result = await function()
        except self._failures:
            self._failed(during)
            raise
        except Exception:
            self._succeeded(during)
            raise
        if self._slow_seconds is not None and clock.monotonic() - began > self._slow_seconds:
            self._failed(during)
        else:
            self._succeeded(during)
        return result

    def _failed(self, during: float | None) -> None:
        self.failures_total += 1
        if self._opened_at != during:
            return
        self._count += 1
        self._last_failure = clock.now()
        if self._count >= self._failure_threshold:
            self._opened_at = clock.monotonic()

    def _succeeded(self, during: float | None) -> None:
        if self._opened_at != during:
            return
        self._count = 0
        self._opened_at = None
