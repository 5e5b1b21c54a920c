"""The pulse of COS: measures again and again, for everybody at once, and remembers the last minutes."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from cos.common import clock

if TYPE_CHECKING:
    from cos.memory.position import Position
    from cos.memory.vitals import Gauge, Vitals

BEAT_SECONDS = 2.0
#: Ten minutes.
BEATS = 300
#: A measurement serves everybody for so long.
FRESH_SECONDS = 0.9


@dataclass(frozen=True, slots=True, kw_only=True)
class Beat:
    """What was measured at one moment; None where it could not be.

    Attributes:
        at: the moment.
        recorded_per_second: events that settled since the beat before, a second.
        postgres_ms: how long Postgres took to answer the smallest question.
        redis_ms: the same of Redis.
        lag_seconds: how long the oldest event that is not announced has waited.
    """

    at: datetime
    recorded_per_second: float | None
    postgres_ms: float | None
    redis_ms: float | None
    lag_seconds: float | None


class Pulse:
    """Measures each `BEAT_SECONDS`; a background part (see `cos.common.looper`)."""

    def __init__(self, *, gauge: Gauge) -> None:
        """Take what measures."""
        self._gauge = gauge
        self._lock = asyncio.Lock()
        self._vitals: Vitals | None = None
        self._measured_at = float("-inf")
        self._beats: deque[Beat] = deque(maxlen=BEATS)
        self._counted: tuple[Position, float] | None = None

    @property
    def beats(self) -> tuple[Beat, ...]:
        """Give what was measured in the last minutes, oldest first."""
        return tuple(self._beats)

    async def vitals(self) -> Vitals:
        """Give what was measured a moment ago, or measure now; never raises."""
        async with self._lock:
            if self._vitals is None or clock.monotonic() - self._measured_at >= FRESH_SECONDS:
                await self._measure(None)
            assert self._vitals is not None  # noqa: S101  (set by the line above)
            return self._vitals

    async def turn(self) -> float:
        """Measure, and remember it; gives the seconds until the next beat."""
        async with self._lock:
            before, began = self._counted, clock.monotonic()
            vitals = await self._measure(None if before is None else before[0])
        rate = None
        if before is not None and vitals.settled_since is not None:
            rate = vitals.settled_since / max(began - before[1], 1e-3)
        # After a gap the count would tell of all that time at once: it begins anew.
        self._counted = None if vitals.settled is None else (vitals.settled, began)
        self._beats.append(
            Beat(
                at=clock.now(),
                recorded_per_second=rate,
                postgres_ms=vitals.postgres_ms,
                redis_ms=vitals.redis_ms,
                lag_seconds=vitals.lag_seconds,
            )
        )
        return BEAT_SECONDS

    async def _measure(self, since: Position | None) -> Vitals:
        self._vitals = await self._gauge.measure(count=False, since=since)
        self._measured_at = clock.monotonic()
        return self._vitals
