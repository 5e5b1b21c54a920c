"""What a comparison of two ways to do something found: one ratio a pair of blocks, and how sure their median is."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from cos.common.ids import dice
from cos.errors import BadInput, CosError

RESAMPLES = 2000
SURE = 0.99


class TooSlow(CosError, AssertionError):
    """One of two compared ways takes more time than its bound allows."""

    slug = "too-slow"
    comparison: Comparison | None = None


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What one side took.

    Attributes:
        name: of the side.
        calls: how many were counted.
        per_second: calls a second of one after the other, median over the blocks.
        latency_ms_p50: milliseconds of a call; of very short ones the mean of a few in a row. So the next three.
        cpu_ms: CPU time of a call, in milliseconds, by the mean.
        memory_peak_bytes: of a call the Python objects at their most, of a process its resident memory; None when it
            was not looked at.
    """

    name: str
    calls: int
    per_second: float
    latency_ms_p50: float
    latency_ms_p95: float
    latency_ms_p99: float
    latency_ms_max: float
    cpu_ms: float
    memory_peak_bytes: int | None


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """How long `a` takes for what `b` does too: a ratio of 1.2 is 20 % longer, of 0.5 half the time.

    Attributes:
        name: of the comparison.
        ratios: time of `a` over time of `b`, one a pair of blocks, in their order.
        ratio: their median.
        ratio_low: lower end of the median's 99 % interval, by bootstrap.
        ratio_high: its upper end.
        a: what was judged.
        b: what it was judged against.
        at_most: the bound that was given; None without one.
    """

    name: str
    ratios: tuple[float, ...]
    ratio: float
    ratio_low: float
    ratio_high: float
    a: Measured
    b: Measured
    at_most: float | None = None

    @property
    def proven(self) -> bool:
        """Whether the whole interval lies within the bound; without one, on one side of 1."""
        if self.at_most is None:
            return self.ratio_high < 1 or self.ratio_low > 1
        return self.ratio_high <= self.at_most

    def check(self, *, at_most: float) -> None:
        """Hold the ratio to a bound.

        Args:
            at_most: as many times `b`'s time `a` may take.

        Raises:
            TooSlow: the whole interval lies above the bound. An interval around the bound is no proof, and passes.
        """
        __tracebackhide__ = True
        if self.ratio_low > at_most:
            error = TooSlow(
                f"{self.a.name} takes {self.ratio:.2f} times as long as {self.b.name} (99 % sure of "
                f"{self.ratio_low:.2f} to {self.ratio_high:.2f}, {len(self.ratios)} pairs), allowed is {at_most:g}: "
                f"median {self.a.latency_ms_p50:.3g} ms against {self.b.latency_ms_p50:.3g} ms."
            )
            error.comparison = self
            raise error

    def as_json(self) -> dict[str, Any]:
        """Give it as plain values."""
        return asdict(self) | {"ratios": list(self.ratios)}

    def __str__(self) -> str:
        """Write it as a line."""
        bound = "" if self.at_most is None else f", at most {self.at_most:g}"
        return (
            f"{self.name or f'{self.a.name} / {self.b.name}'}: {self.ratio:.3f} "
            f"({self.ratio_low:.3f} to {self.ratio_high:.3f}, {len(self.ratios)} pairs{bound})"
        )


def quantile(ordered: Sequence[float], share: float) -> float:
    """Give the value below which `share` of the sorted values lie, between two of them in proportion."""
    place = share * (len(ordered) - 1)
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


def interval(ratios: Sequence[float], *, sure: float = SURE, seed: int = 0) -> tuple[float, float]:
    """Give where the median lies: what it comes to when the ratios are drawn again and again.

    Args:
        ratios: one a pair; 2 at least.
        sure: how much of what the draws give lies within.
        seed: of the draws, so that the same ratios give the same interval.

    Raises:
        BadInput: there are too few ratios.
    """
    if len(ratios) < 2:  # noqa: PLR2004  (one says nothing of the others)
        raise BadInput(f"{len(ratios)} ratio tells nothing of how sure it is: measure 2 pairs at least.")
    draws = dice(seed)
    medians = sorted(statistics.median(draws.choices(ratios, k=len(ratios))) for _ in range(RESAMPLES))
    return quantile(medians, (1 - sure) / 2), quantile(medians, (1 + sure) / 2)
