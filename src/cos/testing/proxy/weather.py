"""How bad the way is at the moment."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Literal

State = Literal["open", "cut", "reset", "blackhole"]
"""Who moves it: the tests alone. `open` lets data through; `cut` closes what is there and refuses the rest; `reset`
breaks connections off as soon as they say something; `blackhole` lets nothing through and says nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Weather:
    """What happens to the data of every connection.

    Attributes:
        state: see `State`.
        latency: seconds that each piece waits, one way.
        jitter: up to so many seconds more or less, at random; pieces never overtake each other.
        bytes_per_second: how much gets through, one way; 0 for as much as there is.
    """

    state: State = "open"
    latency: float = 0.0
    jitter: float = 0.0
    bytes_per_second: float = 0.0

    @property
    def is_clear(self) -> bool:
        """Tell whether data goes straight through."""
        return self.state == "open" and not (self.latency or self.jitter or self.bytes_per_second)

    def delay(self) -> float:
        """Draw the seconds that a piece waits."""
        drawn = random.uniform(-self.jitter, self.jitter) if self.jitter else 0.0  # noqa: S311  (no secret)
        return max(0.0, self.latency + drawn)
