"""The flow as small plots: what was recorded, how fast the servers answer, how far the streams are behind."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cos.backend.dashboard import words
from cos.backend.dashboard.plot import Plot, plot
from cos.memory.pulse import BEAT_SECONDS, BEATS, Beat


@dataclass(frozen=True, kw_only=True)
class Flow:
    """One plot with its words; `figure` is None where nothing is measured now."""

    title: str
    figure: str | None
    unit: str
    note: str
    said: str
    plot: Plot | None


@dataclass(frozen=True)
class _Kind:
    title: str
    unit: str
    of: Callable[[Beat], float | None]


_KINDS = (
    _Kind("Recorded", "events/s", lambda beat: beat.recorded_per_second),
    _Kind("Postgres answers in", "ms", lambda beat: beat.postgres_ms),
    _Kind("Redis answers in", "ms", lambda beat: beat.redis_ms),
    _Kind("Streams are behind", "s", lambda beat: beat.lag_seconds),
)


def flows(beats: Sequence[Beat]) -> list[Flow]:
    """Give the plots of the last minutes; the newest beat is now."""
    return [_flow(kind, [kind.of(beat) for beat in beats]) for kind in _KINDS]


def _flow(kind: _Kind, values: list[float | None]) -> Flow:
    drawn = plot(_whole(values))
    now = values[-1] if values else None
    known = [value for value in values if value is not None]
    span = words.duration(round(len(values) * BEAT_SECONDS))
    note = f"at most {words.number(max(known))} in {span}" if known else ""
    figure = None if now is None else words.number(now)
    said = f"{kind.title}: now {figure or words.ABSENT} {kind.unit if figure else ''}; {note}."
    return Flow(title=kind.title, figure=figure, unit=kind.unit, note=note, said=said, plot=drawn)


def _whole(values: list[float | None]) -> list[float | None]:
    """Set the values at the right end of the whole span, so that a young plot does not look old."""
    return [None] * (BEATS - len(values)) + values
