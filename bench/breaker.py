"""Measures what a circuit breaker adds to a call: microseconds, over the same call without one, in turns."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable

from cos.common.circuit_breaker import CircuitBreaker

ROUNDS, CALLS = 30, 10_000


async def nothing() -> None:
    """Stand for a call to a server, without the server."""


async def block(call: Callable[[], Awaitable[None]]) -> float:
    """Give the microseconds of one call, as the mean of many."""
    began = time.perf_counter()
    for _ in range(CALLS):
        await call()
    return (time.perf_counter() - began) / CALLS * 1e6


async def main() -> None:
    """Print one line for each kind of breaker."""
    kinds = {"without a limit for slow calls": None, "with one": 1.0}
    for name, slow_seconds in kinds.items():
        breaker = CircuitBreaker(name="bench", failures=(OSError,), slow_seconds=slow_seconds)

        async def guarded(breaker: CircuitBreaker = breaker) -> None:
            await breaker.call(nothing)

        async def bare() -> None:
            await nothing()

        added = [await block(guarded) - await block(bare) for _ in range(ROUNDS)]
        low, *_, high = statistics.quantiles(added, n=20)
        print(f"A breaker {name} adds {statistics.median(added):.2f} µs a call ({low:.2f} to {high:.2f}).")


if __name__ == "__main__":
    asyncio.run(main())
