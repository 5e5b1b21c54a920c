"""The health monitor: measures every part on a schedule, keeps the last report and a bounded history of figures."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import structlog

from cos.common import clock
from cos.common.health import Part, Report, Source, State, state_of

_log = structlog.get_logger("cos.health")

INTERVAL_SECONDS = 2.0
#: One source may take so long; after that its parts are unknown, and the others' are told all the same.
SOURCE_TIMEOUT_SECONDS = 4.0
#: Ten minutes at one sample each two seconds.
HISTORY_SAMPLES = 300
#: A report this old is not given any more: it is measured anew.
STALE_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Sample:
    """The figures of one moment, by `part.figure`; what could not be measured is absent."""

    at: datetime
    figures: dict[str, float]


class Monitor:
    """A background part (see `cos.common.looper`), asked by everything that shows health."""

    def __init__(self, *, sources: Sequence[Source], interval_seconds: float = INTERVAL_SECONDS) -> None:
        """Take what measures; nothing is measured yet.

        Args:
            sources: of the parts, in the order in which they are shown.
            interval_seconds: between two measurements of the schedule.
        """
        self._sources = list(sources)
        self._interval_seconds = interval_seconds
        self._report: Report | None = None
        self._measured_at = float("-inf")
        self._history: deque[Sample] = deque(maxlen=HISTORY_SAMPLES)
        self._measuring: asyncio.Task[Report] | None = None

    @property
    def last(self) -> Report | None:
        """Give the last report, however old; None before the first."""
        return self._report

    def watch(self, source: Source) -> None:
        """Add a source, shown after those that are there."""
        self._sources.append(source)

    async def turn(self) -> float:
        """Measure once, as the schedule asks."""
        report = await self.measure()
        figures = {
            f"{part.name}.{name}": value for part in report.parts for name, value in part.figures.items()
        }
        self._history.append(Sample(report.measured_at, figures))
        return self._interval_seconds

    async def report(self, *, fresh_seconds: float = STALE_SECONDS) -> Report:
        """Give the last report, measured anew where it is older than `fresh_seconds`; never raises."""
        if self._report is not None and clock.monotonic() - self._measured_at < fresh_seconds:
            return self._report
        return await self.measure()

    def history(self) -> list[Sample]:
        """Give the samples of the last ten minutes, oldest first."""
        return list(self._history)

    async def measure(self) -> Report:
        """Measure now; who asks while a measurement is under way gets that one. Never raises."""
        if self._measuring is None:
            self._measuring = asyncio.create_task(self._measure(), name="monitor:measure")
            self._measuring.add_done_callback(self._done)
        return await asyncio.shield(self._measuring)

    async def close(self) -> None:
        """End a measurement that is under way."""
        task = self._measuring
        while task is not None and not task.done():
            task.cancel()
            await asyncio.wait([task], timeout=0.2)

    def _done(self, _task: asyncio.Task[Report]) -> None:
        self._measuring = None

    async def _measure(self) -> Report:
        found = await asyncio.gather(*(self._of(source) for source in self._sources))
        now = clock.now()
        before = {part.name: part for part in self._report.parts} if self._report else {}
        parts = tuple(_dated(part, before.get(part.name), now) for some in found for part in some)
        report = Report(state=state_of(parts), parts=parts, measured_at=now)
        if self._report is None or report.state is not self._report.state:
            level = "info" if report.state is State.OK else "warning"
            getattr(_log, level)("health", state=report.state.value, causes=report.causes)
        self._report, self._measured_at = report, clock.monotonic()
        return report

    async def _of(self, source: Source) -> Sequence[Part]:
        try:
            async with asyncio.timeout(SOURCE_TIMEOUT_SECONDS):
                return await source.measure()
        except Exception as error:  # noqa: BLE001  (whatever it is, the other parts are told)
            said = " ".join(str(error).split())[:200] or type(error).__name__
            return [
                Part(
                    name=source.name,
                    title=source.name.capitalize(),
                    state=State.UNKNOWN,
                    cause=f"The health of {source.name} could not be measured: {said}.",
                )
            ]


def _dated(part: Part, before: Part | None, now: datetime) -> Part:
    if part.since is not None:
        return part
    return replace(part, since=before.since if before is not None and before.state is part.state else now)
