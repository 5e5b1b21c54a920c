"""Compares two ways to do something in interleaved pairs, so that what else the machine does cancels out.

    comparison = compare(new, old, at_most=1.10)

An absolute figure is a property of the machine and of the moment. Here both sides take turns in short blocks (a, b, b,
a, and so on); each pair gives one ratio, and a bootstrap over the pairs tells how sure their median is. With a bound,
pairs are added until the interval lies on one side of it, or the time is over.
"""

from __future__ import annotations

import asyncio
import gc
import inspect
import math
import statistics
import tracemalloc
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from cos.errors import BadInput
from cos.testing import stopwatch
from cos.testing.command import Command
from cos.testing.comparison import Comparison, Measured, interval, quantile

Call = Callable[[], Any]
Side = Call | Command

LEAST_PAIRS = 10
MOST_PAIRS = 1000
_FURTHER = 1.3
_SHORTEST_S = 20e-6
_CALIBRATION = 3
_LONG_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How to measure; raises BadInput for a number that makes no sense.

    Attributes:
        pairs: how many pairs of blocks; None for as many as it takes to tell, from 10 to 1,000.
        block_s: how long a block is at least, in seconds; a block is one call at least.
        seconds: after which no further pair is begun, once there are 10.
        at_most: a bound for the ratio, which ends the measurement as soon as it is clear.
        workers: of async callables, how many calls of a block are under way at once.
        memory: whether one more call of each is made to see what it allocates.
        seed: of the bootstrap.
        name: of the comparison.
    """

    pairs: int | None = None
    block_s: float = 0.003
    seconds: float = 20.0
    at_most: float | None = None
    workers: int = 1
    memory: bool = True
    seed: int = 0
    name: str = ""

    def __post_init__(self) -> None:
        """Look at the numbers."""
        if self.pairs is not None and self.pairs < 2:  # noqa: PLR2004  (one pair has no spread)
            raise BadInput(f"pairs is {self.pairs}: give 2 at least, or leave it out.")
        for name in ("block_s", "seconds"):
            if not 0 < getattr(self, name) < math.inf:
                raise BadInput(f"{name} is {getattr(self, name)!r}: give seconds, more than 0.")
        if self.at_most is not None and not 0 < self.at_most < math.inf:
            raise BadInput(f"at_most is {self.at_most!r}: give a ratio of times, such as 1.10.")
        if self.workers < 1:
            raise BadInput(f"workers is {self.workers}: give 1 at least.")


@dataclass(slots=True)
class _Block:
    """What one block took."""

    seconds: float = 0.0
    cpu_s: float = 0.0
    latencies: list[float] = field(default_factory=list)
    memory: int | None = None


@dataclass(slots=True)
class _Kept:
    """What the counted blocks of one side took."""

    name: str
    blocks: list[_Block] = field(default_factory=list)
    memory: int | None = None

    def measured(self, calls: int) -> Measured:
        ordered = sorted(1000 * one for block in self.blocks for one in block.latencies)
        peaks = [block.memory for block in self.blocks if block.memory is not None]
        return Measured(
            name=self.name,
            calls=calls * len(self.blocks),
            per_second=calls / statistics.median(block.seconds for block in self.blocks),
            latency_ms_p50=quantile(ordered, 0.50),
            latency_ms_p95=quantile(ordered, 0.95),
            latency_ms_p99=quantile(ordered, 0.99),
            latency_ms_max=ordered[-1],
            cpu_ms=1000 * sum(block.cpu_s for block in self.blocks) / (calls * len(self.blocks)),
            memory_peak_bytes=max(peaks) if peaks else self.memory,
        )


@dataclass(frozen=True, slots=True)
class _Ask:
    """A block that is to be run: which side, how many calls, how many of them timed as one, or the memory of one."""

    side: int
    calls: int
    batch: int = 1
    memory: bool = False


def compare(a: Side, b: Side, **how: Any) -> Comparison:
    """Measure how long `a` takes for what `b` does too.

    Args:
        a: what is judged: a function without arguments, a coroutine function, or a `Command`.
        b: what it is judged against, of the same kind.
        **how: of `Plan`: `at_most`, `pairs`, `block_s`, `seconds`, `workers`, `memory`, `seed`, `name`.

    Raises:
        TooSlow: a bound was given, and `a` is surely above it.
        BadInput: a number makes no sense, or coroutine functions are given where a loop runs.
    """
    __tracebackhide__ = True
    plan = _plan(how)
    if _is_async(a) or _is_async(b):
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return asyncio.run(compare_async(a, b, **how))
        raise BadInput("compare cannot wait for coroutines where a loop runs: use `await compare_async(…)`.")
    sides = (a, b)
    steps = _steps(sides, plan)
    with _quiet_memory():
        ask = next(steps)
        try:
            while True:
                ask = steps.send(_run(sides[ask.side], ask))
        except StopIteration as end:
            return _judged(end.value)


async def compare_async(a: Side, b: Side, **how: Any) -> Comparison:
    """Measure like `compare`, in the running loop; coroutine functions are awaited, others called."""
    __tracebackhide__ = True
    plan = _plan(how)
    sides = (a, b)
    steps = _steps(sides, plan)
    with _quiet_memory():
        ask = next(steps)
        try:
            while True:
                side = sides[ask.side]
                block = await _run_async(side, ask, plan.workers) if _is_async(side) else _run(side, ask)
                ask = steps.send(block)
        except StopIteration as end:
            return _judged(end.value)


def _plan(how: dict[str, Any]) -> Plan:
    unknown = how.keys() - Plan.__dataclass_fields__.keys()
    if unknown:
        raise BadInput(
            f"compare knows no {', '.join(sorted(unknown))}: give {', '.join(Plan.__dataclass_fields__)}."
        )
    return Plan(**how)


def _judged(comparison: Comparison) -> Comparison:
    __tracebackhide__ = True
    if comparison.at_most is not None:
        comparison.check(at_most=comparison.at_most)
    return comparison


def _is_async(side: Side) -> bool:
    return inspect.iscoroutinefunction(side) or inspect.iscoroutinefunction(getattr(side, "__call__", None))  # noqa: B004


def _name(side: Side, fallback: str) -> str:
    if isinstance(side, Command):
        return side.name or fallback
    found = str(getattr(side, "__qualname__", fallback)).rpartition("<locals>.")[2]
    return fallback if found == "<lambda>" else found


def _steps(sides: tuple[Side, Side], plan: Plan) -> Generator[_Ask, _Block, Comparison]:
    """Ask for one block after the other, and give what they came to; whoever runs them may await or not."""
    began = stopwatch.seconds()
    longest = 0.0
    for side in (0, 1):
        first: list[float] = []
        for _ in range(_CALIBRATION):
            block = yield _Ask(side, plan.workers)
            first.append(block.seconds / plan.workers)
            if first[-1] > plan.block_s:
                break  # long enough to need no second try
        longest = max(longest, min(first))
    calls = max(1, math.ceil(plan.block_s / max(longest, 1e-9)))
    calls = min(-(-calls // plan.workers) * plan.workers, 1_000_000)
    batch = 1 if plan.workers > 1 else min(calls, max(1, math.ceil(_SHORTEST_S / max(longest, 1e-9))))
    calls = -(-calls // batch) * batch
    kept = (_Kept(_name(sides[0], "a")), _Kept(_name(sides[1], "b")))
    ratios: list[float] = []
    look = plan.pairs or LEAST_PAIRS  # how many pairs there are when it is next asked whether they are enough
    while True:
        number = len(ratios)
        for side in (0, 1) if number % 2 == 0 else (1, 0):
            kept[side].blocks.append((yield _Ask(side, calls, batch)))
        ratios.append(kept[0].blocks[-1].seconds / kept[1].blocks[-1].seconds)
        late = (
            plan.pairs is None and len(ratios) >= LEAST_PAIRS and stopwatch.seconds() - began > plan.seconds
        )
        if late or (len(ratios) >= look and _enough(ratios, plan)):
            break
        if len(ratios) >= look:
            look = math.ceil(look * _FURTHER)
    for side in (0, 1):
        if plan.memory and longest < _LONG_S and not isinstance(sides[side], Command):
            kept[side].memory = (yield _Ask(side, 1, memory=True)).memory
    low, high = interval(ratios, seed=plan.seed)
    return Comparison(
        name=plan.name,
        ratios=tuple(ratios),
        ratio=statistics.median(ratios),
        ratio_low=low,
        ratio_high=high,
        a=kept[0].measured(calls),
        b=kept[1].measured(calls),
        at_most=plan.at_most,
    )


def _enough(ratios: list[float], plan: Plan) -> bool:
    """Say whether another pair would tell more than it costs."""
    if plan.pairs is not None or len(ratios) >= MOST_PAIRS:
        return True
    if plan.at_most is None:
        return len(ratios) >= 2 * LEAST_PAIRS
    low, high = interval(ratios, seed=plan.seed)
    return low > plan.at_most or high < plan.at_most


@contextmanager
def _quiet_memory() -> Generator[None]:
    """Leave what lives already out of every collection: only the block's own rubbish is cleared between blocks."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def _run(side: Side, ask: _Ask) -> _Block:
    if isinstance(side, Command):
        return _run_command(side, ask.calls)
    if ask.memory:
        return _traced(side)
    block, clock = _Block(), stopwatch.seconds
    latencies, inner = block.latencies, range(ask.batch)
    gc.collect()  # the rubbish of the block before is not this one's to clear
    cpu, began = stopwatch.cpu_seconds(), clock()
    before = began
    for _ in range(ask.calls // ask.batch):
        for _ in inner:
            side()
        now = clock()
        latencies.append((now - before) / ask.batch)
        before = now
    block.seconds, block.cpu_s = before - began, stopwatch.cpu_seconds() - cpu
    return block


def _run_command(command: Command, calls: int) -> _Block:
    block, peak = _Block(), 0
    for _ in range(calls):
        used = command.run()
        block.latencies.append(used.seconds)
        block.seconds += used.seconds
        block.cpu_s += used.cpu_s
        peak = max(peak, used.memory_peak_bytes)
    block.memory = peak
    return block


async def _run_async(call: Any, ask: _Ask, workers: int) -> _Block:
    if ask.memory:
        return await _traced_async(call)
    block, clock = _Block(), stopwatch.seconds

    async def work() -> None:
        before = clock()
        for _ in range(ask.calls // workers // ask.batch):
            for _ in range(ask.batch):
                await call()
            now = clock()
            block.latencies.append((now - before) / ask.batch)
            before = now

    gc.collect()
    cpu, began = stopwatch.cpu_seconds(), clock()
    if workers == 1:
        await work()
    else:
        async with asyncio.TaskGroup() as group:
            for _ in range(workers):
                group.create_task(work())
    block.seconds, block.cpu_s = clock() - began, stopwatch.cpu_seconds() - cpu
    return block


@contextmanager
def _tracing(block: _Block) -> Generator[None]:
    if tracemalloc.is_tracing():  # somebody else's
        yield
        return
    tracemalloc.start()
    try:
        yield
        block.memory = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def _traced(call: Call) -> _Block:
    block = _Block()
    with _tracing(block):
        call()
    return block


async def _traced_async(call: Call) -> _Block:
    block = _Block()
    with _tracing(block):
        await call()
    return block
