"""Token buckets: a burst, then a rate, for each key by itself, whatever the clock does."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from cos.backend.auth.buckets import Buckets
from cos.common import clock


class Hand:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC)

    def monotonic(self) -> float:
        return self.seconds


@pytest.fixture
def hand() -> Iterator[Hand]:
    made = Hand()
    with clock.use_clock(made):
        yield made


@pytest.mark.usefixtures("hand")
class TestBurst:
    def test_so_many_at_once_and_no_more(self) -> None:
        buckets = Buckets(per_second=2, burst=3)
        assert [buckets.take("a") for _ in range(4)] == [0, 0, 0, 0.5]

    def test_each_key_has_its_own(self) -> None:
        buckets = Buckets(per_second=1, burst=1)
        assert (buckets.take("a"), buckets.take("b")) == (0, 0)
        assert buckets.take("a") == 1

    def test_no_rate_is_no_limit(self) -> None:
        buckets = Buckets(per_second=0, burst=0)
        assert {buckets.take("a") for _ in range(1000)} == {0}
        assert buckets.wait("a") == 0


class TestRate:
    def test_what_flows_back_is_what_has_passed(self, hand) -> None:
        buckets = Buckets(per_second=4, burst=1)
        assert buckets.take("a") == 0
        hand.seconds = 0.125
        assert buckets.take("a") == 0.125
        hand.seconds = 0.25
        assert buckets.take("a") == 0

    def test_who_is_refused_pays_nothing(self, hand) -> None:
        """Asking again and again does not keep the bucket empty."""
        buckets = Buckets(per_second=1, burst=1)
        buckets.take("a")
        for _ in range(100):
            buckets.take("a")
        hand.seconds = 1
        assert buckets.take("a") == 0

    def test_a_long_rest_fills_it_once(self, hand) -> None:
        buckets = Buckets(per_second=10, burst=2)
        buckets.take("a")
        hand.seconds = 1e6
        assert [buckets.take("a") for _ in range(3)] == [0, 0, 0.1]


class TestWait:
    def test_takes_nothing(self, hand) -> None:
        buckets = Buckets(per_second=1, burst=1)
        assert [buckets.wait("a") for _ in range(3)] == [0, 0, 0]
        buckets.take("a")
        assert [buckets.wait("a") for _ in range(2)] == [1, 1]
        hand.seconds = 0.75
        assert buckets.wait("a") == 0.25


@pytest.mark.usefixtures("hand")
class TestMost:
    def test_the_least_lately_used_is_forgotten(self) -> None:
        buckets = Buckets(per_second=1, burst=1, most=2)
        for key in ("a", "b", "a"):
            buckets.take(key)
        buckets.take("c")  # b goes, though a came first
        assert buckets.take("a") > 0
        assert buckets.take("b") == 0

    def test_asking_how_long_makes_none(self) -> None:
        buckets = Buckets(per_second=1, burst=1, most=1)
        buckets.take("a")
        buckets.wait("b")
        assert buckets.take("a") > 0
