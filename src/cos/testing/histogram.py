"""Counts durations in buckets that grow by one per cent each: any number of them, in little memory."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator

_GROWTH = math.log(1.01)
_LEAST_S = 1e-6


class Histogram:
    """Durations in seconds; a quantile is right to one per cent."""

    def __init__(self) -> None:
        self._buckets: Counter[int] = Counter()
        self.count = 0
        self.most = 0.0

    def add(self, seconds: float) -> None:
        """Count a duration; what is below a microsecond counts as one."""
        self._buckets[math.ceil(math.log(max(seconds, _LEAST_S) / _LEAST_S) / _GROWTH)] += 1
        self.count += 1
        self.most = max(self.most, seconds)

    def merge(self, other: Histogram) -> None:
        """Count also what another one has counted."""
        self._buckets.update(other._buckets)
        self.count += other.count
        self.most = max(self.most, other.most)

    def quantile(self, share: float) -> float:
        """Give the duration, in seconds, which `share` of the counted ones do not exceed; 0 when there are none."""
        wanted, seen = share * self.count, 0
        for bucket, count in sorted(self._buckets.items()):
            seen += count
            if seen >= wanted:
                return min(_LEAST_S * math.exp(bucket * _GROWTH), self.most)
        return self.most

    def shares(self) -> Iterator[tuple[float, float]]:
        """Give, for each bucket in order, its duration and the share of all that do not exceed it."""
        seen = 0
        for bucket, count in sorted(self._buckets.items()):
            seen += count
            yield min(_LEAST_S * math.exp(bucket * _GROWTH), self.most), seen / self.count
