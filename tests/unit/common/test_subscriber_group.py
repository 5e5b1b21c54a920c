"""Ids of stream entries: their order, and what comes before one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cos.common.subscriber_group import before, order

NUMBERS = st.integers(min_value=0, max_value=2**64 - 1)


class TestIds:
    @given(st.tuples(NUMBERS, NUMBERS), st.tuples(NUMBERS, NUMBERS))
    def test_they_are_ordered_as_redis_orders_them(self, a: tuple[int, int], b: tuple[int, int]) -> None:
        texts = [f"{high}-{low}" for high, low in (a, b)]
        assert (order(texts[0]) < order(texts[1])) == (a < b)

    @given(NUMBERS, NUMBERS)
    def test_nothing_lies_between_an_id_and_the_one_before_it(self, high: int, low: int) -> None:
        """So a group that begins there gets exactly what follows."""
        found = order(before(f"{high}-{low}"))
        if (high, low) == (0, 0):
            assert found == (0, 0)
        else:
            assert found[0] * 2**64 + found[1] + 1 == high * 2**64 + low

    @pytest.mark.parametrize(("entry", "found"), [(b"7-3", (7, 3)), ("7", (7, 0))])
    def test_bytes_and_short_ones(self, entry, found) -> None:
        assert order(entry) == found
