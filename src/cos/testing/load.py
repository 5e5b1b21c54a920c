"""Puts load on any async callable, as many at once as one says or as many a second, and tells how long calls took.

**Closed** model: so many workers, each calls again when its last call is done. **Open** model: calls become due at a
rate, whether earlier ones are done or not, as from users who do not know of each other. A latency counts from the
moment at which the call was *due*: a server that stands still for a second makes all the calls of that second late,
not one (coordinated omission). `service` counts from the moment at which the call was really made.
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from cos.common import clock
from cos.common.ids import dice
from cos.errors import BadInput, CosError
from cos.testing import stopwatch
from cos.testing.histogram import Histogram

_WATCH_S = 0.5
_LAG_S = 0.01
_KINDS = 50
_OTHER = "other errors"
TIMED_OUT = "timed out"


class CallFailed(CosError):
    """A call under load did not give what it should."""

    slug = "call-failed"


@dataclass(frozen=True, kw_only=True)
class Closed:
    """So many workers, each with one call under way.

    Attributes:
        workers: how many.
        pace_s: how often each means to call, in seconds; a call that is late counts from when it was due. None: each
            calls as soon as its last call is done, and nothing is ever due.
    """

    workers: int
    pace_s: float | None = None

    def __post_init__(self) -> None:
        """Look at the numbers."""
        if self.workers < 1:
            raise BadInput(f"workers is {self.workers}: give 1 at least.")
        if self.pace_s is not None and not 0 < self.pace_s < math.inf:
            raise BadInput(f"pace_s is {self.pace_s!r}: give seconds, more than 0.")

    def __str__(self) -> str:
        """Write it for a person."""
        pace = f", one call each {self.pace_s:g} s" if self.pace_s else ""
        return f"closed: {self.workers} workers{pace}"


@dataclass(frozen=True, kw_only=True)
class Open:
    """So many calls a second, whatever becomes of them.

    Attributes:
        rate: calls a second.
        arrivals: `poisson` (at random, as users come) or `even`.
        most_under_way: above which a call that is due is not made but counted as dropped.
    """

    rate: float
    arrivals: Literal["poisson", "even"] = "poisson"
    most_under_way: int = 10_000

    def __post_init__(self) -> None:
        """Look at the numbers."""
        if not 0 < self.rate < math.inf:
            raise BadInput(f"rate is {self.rate!r}: give calls a second, more than 0.")
        if self.arrivals not in ("poisson", "even"):
            raise BadInput(f"arrivals is {self.arrivals!r}: give poisson or even.")
        if self.most_under_way < 1:
            raise BadInput(f"most_under_way is {self.most_under_way}: give 1 at least.")

    def __str__(self) -> str:
        """Write it for a person."""
        return f"open: {self.rate:g} calls a second, {self.arrivals} arrivals"


@dataclass(slots=True)
class Second:
    """What ended in one second of the run."""

    ok: int = 0
    failed: int = 0
    latency: Histogram = field(default_factory=Histogram)


@dataclass(slots=True)
class LoadReport:
    """What a load run found; it grows while the run goes on.

    Attributes:
        name: what was called.
        model: how.
        at: when it began, in UTC.
        seconds: for how long calls were made, without the warm-up.
        ok: calls that gave what they should.
        errors: the others, by kind.
        dropped: calls that were due and not made, as too many were under way.
        unfinished: calls that were still under way at the end and were ended.
        latency: of good calls and of those that timed out, from when they were due.
        service: of the same, from when they were made.
        lag: how much later than due calls were made: of the load itself, where nothing held it up.
        timeline: by second from the beginning.
    """

    name: str
    model: str
    at: str
    seconds: float = 0.0
    ok: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    dropped: int = 0
    unfinished: int = 0
    latency: Histogram = field(default_factory=Histogram)
    service: Histogram = field(default_factory=Histogram)
    lag: Histogram = field(default_factory=Histogram)
    timeline: list[Second] = field(default_factory=list)

    @property
    def per_second(self) -> float:
        """Good calls a second."""
        return self.ok / self.seconds if self.seconds else 0.0

    @property
    def notes(self) -> list[str]:
        """Sentences on why the figures may not be what they seem."""
        found = []
        if self.lag.quantile(0.99) > _LAG_S:
            found.append(
                f"Calls were made late (p99 {1000 * self.lag.quantile(0.99):.0f} ms): this machine is too busy to make "
                "so many; part of the latency is its own."
            )
        if self.dropped:
            found.append(
                f"{self.dropped} calls were not made at all, as too many were under way: the target is behind."
            )
        if self.unfinished:
            found.append(f"{self.unfinished} calls were still under way at the end and are in no percentile.")
        return found

    def percentiles(self) -> dict[str, float]:
        """Give the latencies in milliseconds."""
        shares = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99, "p99_9": 0.999}
        found = {f"latency_ms_{name}": 1000 * self.latency.quantile(share) for name, share in shares.items()}
        return found | {"latency_ms_max": 1000 * self.latency.most}

    def as_json(self) -> dict[str, Any]:
        """Give it as plain values."""
        return {
            "name": self.name,
            "model": self.model,
            "at": self.at,
            "seconds": round(self.seconds, 3),
            "ok": self.ok,
            "errors": dict(self.errors),
            "dropped": self.dropped,
            "unfinished": self.unfinished,
            "per_second": self.per_second,
            **self.percentiles(),
            "service_ms_p50": 1000 * self.service.quantile(0.5),
            "service_ms_p99": 1000 * self.service.quantile(0.99),
            "lag_ms_p99": 1000 * self.lag.quantile(0.99),
            "notes": self.notes,
            "timeline": [
                {
                    "second": number,
                    "ok": one.ok,
                    "failed": one.failed,
                    "latency_ms_p50": 1000 * one.latency.quantile(0.5),
                    "latency_ms_p95": 1000 * one.latency.quantile(0.95),
                    "latency_ms_p99": 1000 * one.latency.quantile(0.99),
                }
                for number, one in enumerate(self.timeline)
            ],
        }


async def run_load(
    call: Callable[[], Awaitable[Any]],
    model: Closed | Open,
    *,
    seconds: float,
    warm_up_s: float = 0.0,
    timeout_s: float = 30.0,
    watch: Callable[[LoadReport], None] | None = None,
    name: str = "",
    seed: int = 0,
) -> LoadReport:
    """Call again and again for some time.

    Args:
        call: one unit of work; an exception counts as an error of its kind, `CallFailed` by its sentence.
        model: `Closed` or `Open`.
        seconds: for how long calls are made.
        warm_up_s: before that, calls are made and not counted.
        timeout_s: after which a call is given up; it counts with that latency.
        watch: shown the growing report twice a second.
        name: of what is called.
        seed: of the arrivals.

    Raises:
        BadInput: a number makes no sense.
    """
    for label, value in (("seconds", seconds), ("timeout_s", timeout_s)):
        if not 0 < value < math.inf:
            raise BadInput(f"{label} is {value!r}: give seconds, more than 0.")
    if not 0 <= warm_up_s < math.inf:
        raise BadInput(f"warm_up_s is {warm_up_s!r}: give seconds, 0 or more.")
    report = LoadReport(
        name or getattr(call, "__qualname__", "call"), str(model), clock.now().isoformat(timespec="seconds")
    )
    run = _Load(call, report, timeout_s=timeout_s, warm_up_s=warm_up_s, seconds=seconds)
    watching = asyncio.create_task(_watch(report, watch)) if watch else None
    try:
        if isinstance(model, Closed):
            await run.closed(model)
        else:
            await run.open(model, seed)
    finally:
        if watching:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
    if watch:
        watch(report)
    return report


async def _watch(report: LoadReport, watch: Callable[[LoadReport], None]) -> None:
    while True:
        watch(report)
        await asyncio.sleep(_WATCH_S)


class _Load:
    """One run: makes the calls and counts what becomes of them."""

    def __init__(
        self,
        call: Callable[[], Awaitable[Any]],
        report: LoadReport,
        *,
        timeout_s: float,
        warm_up_s: float,
        seconds: float,
    ) -> None:
        self._call = call
        self._report = report
        self._timeout_s = timeout_s
        self._began = stopwatch.seconds()
        self._counted = self._began + warm_up_s
        self._end = self._counted + seconds
        self._under_way = 0

    async def closed(self, model: Closed) -> None:
        """Let so many workers call until the end."""
        workers = [asyncio.create_task(self._worker(model, number)) for number in range(model.workers)]
        await self._drain(set(workers))

    async def _worker(self, model: Closed, number: int) -> None:
        # Workers with a pace do not all begin at once.
        share = number / model.workers * model.pace_s if model.pace_s else 0.0
        due = self._began + share
        while due < self._end:
            now = stopwatch.seconds()
            if due > now:
                await asyncio.sleep(due - now)
            elif model.pace_s is None:
                due = now
            await self._one(due)
            due = due + model.pace_s if model.pace_s else stopwatch.seconds()

    async def open(self, model: Open, seed: int) -> None:
        """Make each call when it is due."""
        calls: set[asyncio.Task[None]] = set()
        for due in self._arrivals(model, seed):
            now = stopwatch.seconds()
            if due > now:
                await asyncio.sleep(due - now)
            elif not self._under_way % 100:
                await asyncio.sleep(0)  # behind: let calls that are under way go on
            if self._under_way >= model.most_under_way:
                self._report.dropped += due >= self._counted
                continue
            task = asyncio.create_task(self._one(due))
            calls.add(task)
            task.add_done_callback(calls.discard)
        await self._drain(calls)

    def _arrivals(self, model: Open, seed: int) -> Iterator[float]:
        draws, due = dice(seed), self._began
        while due < self._end:
            yield due
            due += draws.expovariate(model.rate) if model.arrivals == "poisson" else 1 / model.rate

    async def _drain(self, calls: set[asyncio.Task[None]]) -> None:
        """Wait for what is under way; end what does not end."""
        left = self._end - stopwatch.seconds() + self._timeout_s + 1.0
        if calls:
            _, late = await asyncio.wait(calls, timeout=max(left, 0.0))
            self._report.unfinished = len(late)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        self._report.seconds = self._end - self._counted

    async def _one(self, due: float) -> None:
        """Make one call and count it."""
        began = stopwatch.seconds()
        self._under_way += 1
        kind = ""
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._call()
        except TimeoutError:
            kind = TIMED_OUT
        except CallFailed as error:
            kind = str(error)
        except Exception as error:  # noqa: BLE001  (an error is what is counted here)
            kind = type(error).__name__
        finally:
            self._under_way -= 1
        now = stopwatch.seconds()
        if due >= self._counted:
            self._count(kind, due, began, now)

    def _count(self, kind: str, due: float, began: float, now: float) -> None:
        report = self._report
        report.seconds = min(now, self._end) - self._counted
        second = int(now - self._counted)
        while len(report.timeline) <= second:
            report.timeline.append(Second())
        place = report.timeline[second]
        report.lag.add(max(0.0, began - due))
        if kind:
            known = kind in report.errors or len(report.errors) < _KINDS
            report.errors[kind if known else _OTHER] += 1
            place.failed += 1
        else:
            report.ok += 1
            place.ok += 1
        if (
            not kind or kind == TIMED_OUT
        ):  # a quick error would make the rest look better, a timeout left out as well
            report.latency.add(now - due)
            report.service.add(now - began)
            place.latency.add(now - due)
