"""The clock of `cos green`: the only place where it asks for the time, so that it stands apart from the rest of COS."""

from __future__ import annotations

import time
from datetime import UTC, datetime


def now() -> datetime:
    """Give the wall-clock time, aware, in UTC."""
    return datetime.now(UTC)


def monotonic() -> float:
    """Give seconds on a clock that only goes forward; good for differences alone."""
    return time.monotonic()


def pause(seconds: float) -> None:
    """Wait between two polls of another process.

    Args:
        seconds: how long, in seconds.
    """
    time.sleep(seconds)
