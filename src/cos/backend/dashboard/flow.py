"""The flow as small plots: what was recorded, how fast the servers answer, how far the streams are behind."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

from cos.backend.dashboard import words
from cos.backend.dashboard.plot import Plot, plot
from cos.common.monitor import HISTORY_SAMPLES, INTERVAL_SECONDS, Sample


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
    of: Callable[[Sequence[Sample]], list[float | None]]


def _figures(name: str, samples: Sequence[Sample]) -> list[float | None]:
    return [sample.figures.get(name) for sample in samples]


def _rates(samples: Sequence[Sample]) -> list[float | None]:
    """Give what was recorded a second between two samples; absent where either was not measured, or it became less."""
    rates: list[float | None] = [None] if samples else []
    for before, sample in pairwise(samples):
        counts = [one.figures.get("postgres.records") for one in (before, sample)]
        seconds = (sample.at - before.at).total_seconds()
        if counts[0] is None or counts[1] is None or counts[1] < counts[0] or seconds <= 0:
            rates.append(None)
        else:
            rates.append((counts[1] - counts[0]) / seconds)
    return rates


_KINDS = (
    _Kind("Recorded", "events/s", _rates),
    _Kind("Postgres answers in", "ms", partial(_figures, "postgres.answer_ms")),
    _Kind("Redis answers in", "ms", partial(_figures, "redis.answer_ms")),
    _Kind("Streams are behind", "s", partial(_figures, "relay.lag_seconds")),
)


def flows(samples: Sequence[Sample]) -> list[Flow]:
    """Give the plots of the last minutes; the newest sample is now."""
    return [_flow(kind, kind.of(samples)) for kind in _KINDS]


def _flow(kind: _Kind, values: list[float | None]) -> Flow:
    drawn = plot(_whole(values))
    now = values[-1] if values else None
    known = [value for value in values if value is not None]
    span = words.duration(round(len(values) * INTERVAL_SECONDS))
    note = f"at most {words.number(max(known))} in {span}" if known else ""
    figure = None if now is None else words.number(now)
    said = f"{kind.title}: now {figure or words.ABSENT} {kind.unit if figure else ''}; {note}."
    return Flow(title=kind.title, figure=figure, unit=kind.unit, note=note, said=said, plot=drawn)


def _whole(values: list[float | None]) -> list[float | None]:
    """Set the values at the right end of the whole span, so that a young plot does not look old."""
    return [None] * (HISTORY_SAMPLES - len(values)) + values
