"""How many requests one token or address may make: a token bucket for each, and a bound on how many are kept."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from cos.common import clock

MOST_BUCKETS = 10_000


@dataclass(slots=True)
class _Bucket:
    left: float
    at_seconds: float


class Buckets:
    """Lets `burst` requests through at once and `per_second` after that, for each key by itself.

    The least lately used bucket is forgotten when there are too many; who comes back finds a full one. To gain from
    that, one must come from ten thousand addresses, and then needs no burst.
    """

    def __init__(self, *, per_second: float, burst: float, most: int = MOST_BUCKETS) -> None:
        """Take the rate.

        Args:
            per_second: what flows back into a bucket; 0 lets everything through.
            burst: what a full bucket holds.
            most: how many buckets are kept.
        """
        self._per_second = per_second
        self._burst = burst
        self._most = most
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def take(self, key: str) -> float:
        """Take one request out of a bucket; gives 0, or the seconds until there is room for one."""
        if self._per_second <= 0:
            return 0.0
        bucket = self._filled(key)
        if bucket.left >= 1:
            bucket.left -= 1
            return 0.0
        return (1 - bucket.left) / self._per_second

    def wait(self, key: str) -> float:
        """Give what `take` would, and take nothing."""
        if self._per_second <= 0 or key not in self._buckets:
            return 0.0
        bucket = self._filled(key)
        return 0.0 if bucket.left >= 1 else (1 - bucket.left) / self._per_second

    def _filled(self, key: str) -> _Bucket:
        now = clock.monotonic()
        bucket = self._buckets.get(key)
        if bucket is None:
            if len(self._buckets) >= self._most:
                self._buckets.popitem(last=False)
            bucket = self._buckets[key] = _Bucket(self._burst, now)
            return bucket
        self._buckets.move_to_end(key)
        bucket.left = min(self._burst, bucket.left + (now - bucket.at_seconds) * self._per_second)
        bucket.at_seconds = now
        return bucket
