"""A plot is the path of its values: to scale, with gaps where nothing was measured."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cos.backend.dashboard.plot import HEIGHT, WIDTH, plot

VALUES = st.lists(st.none() | st.floats(min_value=0, max_value=1e12), max_size=60)


@pytest.mark.parametrize("values", [[], [1.0], [None, None], [None, 3.0, None]])
def test_one_point_is_no_plot(values) -> None:
    assert plot(values) is None


def test_a_gap_is_not_bridged() -> None:
    """Two runs of values are two lines."""
    made = plot([1, 2, None, 3, 4])
    assert made is not None
    assert made.line.count("M") == 2


def test_what_is_not_measured_now_has_no_dot() -> None:
    made = plot([1, 2, None])
    assert made is not None
    assert (made.now, made.dot, made.most) == (None, None, 2)


def test_nothing_happening_lies_on_the_ground() -> None:
    made = plot([0, 0, 0])
    assert made is not None
    assert {y for _, y in points(made.line)} == {HEIGHT - 2.0}


@given(VALUES)
def test_every_point_is_inside_and_to_scale(values) -> None:
    """No value leaves the frame, and a greater one is never drawn lower."""
    made = plot(values)
    if made is None:
        return
    known = [value for value in values if value is not None]
    found = points(made.line)
    assert len(found) == len(known)
    assert all(0 <= x <= WIDTH and 0 <= y <= HEIGHT for x, y in found)
    heights = [y for _, (_, y) in sorted(zip(known, found, strict=True), key=lambda pair: pair[0])]
    assert heights == sorted(heights, reverse=True)


def points(path: str) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in re.findall(r"(-?[\d.]+) (-?[\d.]+)", path)]
