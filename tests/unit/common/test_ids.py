"""Ids: their order whatever the clock does, and their form."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cos.common import clock, ids

# Above every time that a test has asked for, so that each example begins with an id of its own time.
_START = datetime(2200, 1, 1, tzinfo=UTC)


class SteppingClock:
    """Tells the times that it was given."""

    def __init__(self, times: list[datetime]) -> None:
        self.times = iter(times)

    def now(self) -> datetime:
        return next(self.times)

    def monotonic(self) -> float:
        return 0.0


@pytest.fixture(autouse=True)
def order_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let ids of far-away times not push those of later tests ahead."""
    monkeypatch.setattr(ids, "_last_stamp", ids._last_stamp)


class TestUuid7:
    @given(st.lists(st.integers(min_value=-(10**12), max_value=10**12), min_size=2, max_size=50))
    def test_each_is_greater_than_the_one_before(self, steps: list[int]) -> None:
        """The clock may stand still, go back or leap (property)."""
        with clock.use_clock(SteppingClock([_START + timedelta(microseconds=step) for step in steps])):
            made = [ids.uuid7() for _ in steps]
        assert made == sorted(made)
        assert len(set(made)) == len(made)

    def test_a_clock_that_stands_still(self) -> None:
        """More ids than a millisecond has places: the order borrows from the next one."""
        with clock.use_clock(SteppingClock([_START] * 10_000)):
            made = [ids.uuid7() for _ in range(10_000)]
        assert all(first < second for first, second in pairwise(made))

    @given(st.datetimes(min_value=datetime(2300, 1, 1), max_value=datetime(9999, 12, 31)))  # noqa: DTZ001
    def test_version_variant_and_time(self, at: datetime) -> None:
        """RFC 9562: the first 48 bits are the Unix time in milliseconds."""
        ids._last_stamp = 0
        made = ids.uuid7(at.replace(tzinfo=UTC))
        assert (made.version, made.variant) == (7, "specified in RFC 4122")
        exact = (at.replace(tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
        assert abs((made.int >> 80) - exact) <= 1

    def test_equal_times_do_not_make_equal_tails(self) -> None:
        assert len({ids.uuid7(_START).int & ids._RANDOM_MASK for _ in range(1000)}) == 1000


class TestRandomness:
    def test_hex_has_two_digits_a_byte(self) -> None:
        assert len(bytes.fromhex(ids.random_hex(16))) == 16
        assert ids.random_hex(16) != ids.random_hex(16)

    @given(st.floats(min_value=0, max_value=1e6))
    def test_jitter_stays_between_a_half_and_the_whole(self, seconds: float) -> None:
        assert seconds / 2 <= ids.jitter(seconds) <= seconds
