"""Time that a test can move, and that is given back."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from cos.common import clock


class Stopped:
    def now(self) -> datetime:
        return datetime(1999, 12, 31, tzinfo=UTC)

    def monotonic(self) -> float:
        return 42.0


def test_the_system_clock_is_aware_and_never_goes_back() -> None:
    assert clock.now().utcoffset() is not None
    assert clock.monotonic() <= clock.monotonic()


def test_another_clock_tells_the_time_until_the_block_ends() -> None:
    """Also when the block ends by an exception."""

    def look_and_fail() -> None:
        with clock.use_clock(Stopped()):
            assert (clock.now().year, clock.monotonic()) == (1999, 42.0)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        look_and_fail()
    assert clock.now().year > 1999
