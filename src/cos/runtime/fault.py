"""Something that `cos doctor` finds, and what mends it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Something that is not as it should be.

    Attributes:
        found: it, in words.
        mend: does away with it and says what it did; None for what only a person can do.
        advice: what to do about it.
    """

    found: str
    mend: Callable[[], str] | None
    advice: str = "cos doctor --fix mends it"
