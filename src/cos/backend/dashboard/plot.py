"""A small line plot as the numbers of an SVG path; the template draws it, without a style or a script."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

WIDTH = 240
HEIGHT = 48
_TOP = 4  # room for the line's own width
_BOTTOM = 2


@dataclass(frozen=True, kw_only=True)
class Plot:
    """What one plot shows.

    Attributes:
        line: path of the values; a gap where one was not measured.
        area: path of the surface under the line.
        now: the last value, None when it was not measured.
        most: the greatest value, None when none was measured.
        dot: where the last value stands, None when there is none.
    """

    line: str
    area: str
    now: float | None
    most: float | None
    dot: tuple[float, float] | None
    width: int = WIDTH
    height: int = HEIGHT


def plot(values: Sequence[float | None]) -> Plot | None:
    """Lay out the values, oldest first, from left to right; None with fewer than two that were measured."""
    known = [value for value in values if value is not None]
    if len(known) < 2:  # noqa: PLR2004  (one point is no line)
        return None
    most = max(known)
    step = WIDTH / (len(values) - 1)
    line, area = [], []
    for run in _runs(values):
        points = [(index * step, _height(value, most)) for index, value in run]
        text = " L".join(f"{x:.1f} {y:.1f}" for x, y in points)
        line.append(f"M{text}" if len(points) > 1 else f"M{text} h0.1")
        area.append(f"M{points[0][0]:.1f} {HEIGHT} L{text} L{points[-1][0]:.1f} {HEIGHT} Z")
    last = values[-1]
    return Plot(
        line=" ".join(line),
        area=" ".join(area),
        now=last,
        most=most,
        dot=None if last is None else (WIDTH, round(_height(last, most), 1)),
    )


def _height(value: float, most: float) -> float:
    room = HEIGHT - _TOP - _BOTTOM
    return HEIGHT - _BOTTOM - (room * value / most if most > 0 else 0)


def _runs(values: Sequence[float | None]) -> list[list[tuple[int, float]]]:
    """Split at what was not measured."""
    runs: list[list[tuple[int, float]]] = [[]]
    for index, value in enumerate(values):
        if value is not None:
            runs[-1].append((index, value))
        elif runs[-1]:
            runs.append([])
    return [run for run in runs if run]
