"""Compares two async callables in one run, in pairs of blocks, so that what else the machine does cancels out.

An absolute figure is a property of the machine and of the moment. Here the subject and its floor (the least that any
program must do for the same effect) take turns; each round gives one ratio, and the rounds tell how sure it is.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import platform
import random
import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

Call = Callable[[], Awaitable[Any]]

RESAMPLES = 2000
INTERVAL = (0.05, 0.95)


@dataclass(frozen=True, kw_only=True)
class Side:
    """What one of the two callables did.

    Attributes:
        per_second: calls a second, one figure a round.
        latency_ms_p50: of all calls of all rounds, in milliseconds; likewise the other two.
    """

    per_second: tuple[float, ...]
    latency_ms_p50: float
    latency_ms_p95: float
    latency_ms_p99: float


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """How the subject's throughput compares with its floor's; 1 is as fast, 2 twice as fast.

    Attributes:
        name: of the comparison, for the table.
        ratios: one a round, in order.
        ratio: their median.
        ratio_min: the least.
        ratio_max: the greatest.
        ratio_low: lower end of the median's 90 % interval, by bootstrap.
        ratio_high: its upper end.
        subject: what was measured.
        floor: what it is measured against.
    """

    name: str
    ratios: tuple[float, ...]
    ratio: float
    ratio_min: float
    ratio_max: float
    ratio_low: float
    ratio_high: float
    subject: Side
    floor: Side


async def compare(
    subject: Call, floor: Call, *, rounds: int, inner: int, workers: int = 1, name: str = "", seed: int = 0
) -> Comparison:
    """Measure two callables in turn: subject, floor, floor, subject, and so on, after one round that is not counted.

    Args:
        subject: what is judged; called once for each unit of work.
        floor: what it is judged against, for the same unit of work.
        rounds: how many pairs of blocks are counted; at least 2.
        inner: calls in a block.
        workers: how many calls of a block are under way at once.
        name: of the comparison, for the table.
        seed: of the bootstrap, so that the same figures give the same interval.

    Raises:
        ValueError: a number is too small, or `inner` is no multiple of `workers`.
    """
    if rounds < 2 or inner < 1 or workers < 1 or inner % workers:
        msg = f"rounds={rounds}, inner={inner}, workers={workers}: 2 rounds at least, inner a multiple of workers."
        raise ValueError(msg)
    calls = (subject, floor)
    speeds: tuple[list[float], list[float]] = ([], [])
    latencies: tuple[list[float], list[float]] = ([], [])
    for number in range(-1, rounds):
        for side in (0, 1) if number % 2 == 0 else (1, 0):
            taken, each = await _block(calls[side], inner, workers)
            if number >= 0:
                speeds[side].append(inner / taken)
                latencies[side].extend(each)
    ratios = [ours / theirs for ours, theirs in zip(*speeds, strict=True)]
    low, high = bootstrap(ratios, seed=seed)
    return Comparison(
        name=name,
        ratios=tuple(ratios),
        ratio=statistics.median(ratios),
        ratio_min=min(ratios),
        ratio_max=max(ratios),
        ratio_low=low,
        ratio_high=high,
        subject=_side(speeds[0], latencies[0]),
        floor=_side(speeds[1], latencies[1]),
    )


async def _block(call: Call, inner: int, workers: int) -> tuple[float, list[float]]:
    latencies: list[float] = []

    async def work() -> None:
        for _ in range(inner // workers):
            began = time.perf_counter()
            await call()
            latencies.append(time.perf_counter() - began)

    gc.collect()  # the rubbish of the block before is not this one's to clear
    began = time.perf_counter()
    if workers == 1:
        await work()
    else:
        await asyncio.gather(*(work() for _ in range(workers)))
    return time.perf_counter() - began, latencies


def _side(speeds: list[float], latencies: list[float]) -> Side:
    milliseconds = sorted(1000 * seconds for seconds in latencies)
    return Side(
        per_second=tuple(speeds),
        latency_ms_p50=quantile(milliseconds, 0.50),
        latency_ms_p95=quantile(milliseconds, 0.95),
        latency_ms_p99=quantile(milliseconds, 0.99),
    )


def quantile(values: Sequence[float], share: float) -> float:
    """Give the value below which `share` of the sorted values lie, between two of them in proportion."""
    place = share * (len(values) - 1)
    below = int(place)
    above = min(below + 1, len(values) - 1)
    return values[below] + (values[above] - values[below]) * (place - below)


def bootstrap(ratios: Sequence[float], *, seed: int) -> tuple[float, float]:
    """Give the 90 % interval of the median: what it comes to when the rounds are drawn again and again."""
    dice = random.Random(seed)  # noqa: S311  (repeatable draws, not a secret)
    medians = sorted(statistics.median(dice.choices(ratios, k=len(ratios))) for _ in range(RESAMPLES))
    return quantile(medians, INTERVAL[0]), quantile(medians, INTERVAL[1])


def save(results: Sequence[Comparison], path: Path) -> None:
    """Write the results as JSON, with when and on what they were measured; makes the folder."""
    machine = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        json.dumps({"machine": machine, "results": [asdict(one) for one in results]}, indent=2) + "\n"
    )


def table(results: Sequence[Comparison]) -> str:
    """Give the results as a Markdown table."""
    lines = [
        "| | ratio | 90 % interval | min to max | per second, floor | p50 ms, floor | p95 ms, floor | p99 ms, floor |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for one in results:
        ours, theirs = one.subject, one.floor
        speeds = [f"{statistics.median(side.per_second):,.0f}" for side in (ours, theirs)]
        cells = [
            one.name,
            f"{one.ratio:.2f}",
            f"{one.ratio_low:.2f} to {one.ratio_high:.2f}",
            f"{one.ratio_min:.2f} to {one.ratio_max:.2f}",
            ", ".join(speeds),
            f"{ours.latency_ms_p50:.3f}, {theirs.latency_ms_p50:.3f}",
            f"{ours.latency_ms_p95:.3f}, {theirs.latency_ms_p95:.3f}",
            f"{ours.latency_ms_p99:.3f}, {theirs.latency_ms_p99:.3f}",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)
