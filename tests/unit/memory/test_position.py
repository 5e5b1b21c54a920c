"""Positions: their order is that of the numbers, and only their own form is read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cos.errors import BadInput
from cos.memory.position import START, Position

POSITIONS = st.builds(Position, st.integers(0, 2**64 - 1), st.integers(0, 2**63 - 1))


@given(POSITIONS)
def test_written_then_read_is_the_same(position: Position) -> None:
    assert Position.parse(str(position)) == position


@given(POSITIONS, POSITIONS)
def test_the_order_is_that_of_transaction_then_sequence(one: Position, other: Position) -> None:
    assert sorted([one, other]) == sorted([one, other], key=lambda position: (position.xact, position.seq))
    assert min(one, START) == START


def test_numbers_are_compared_not_text() -> None:
    assert Position.parse("9-1") < Position.parse("10-0") < Position.parse("10-2") < Position.parse("10-10")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "-",
        "1",
        "1-",
        "-1",
        "1-2-3",
        "a-b",
        " 1-2",
        "1-2\n",
        "1_0-2",
        "+1-2",
        "１-2",
        f"{2**64}-0",
        f"0-{2**63}",
    ],
)
def test_anything_else_is_refused_and_named(text: str) -> None:
    with pytest.raises(BadInput, match="is not a position; a position looks like 1234-56"):
        Position.parse(text)
