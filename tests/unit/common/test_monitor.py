"""The monitor: one report of all sources, one measurement at a time, a bounded history, and no source that hurts."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta

import pytest

from cos.common import clock, monitor
from cos.common.health import Part, State
from cos.common.monitor import Monitor


class Given:
    """A source that gives what the test says."""

    def __init__(self, name: str = "a", **part) -> None:
        self.name = name
        self.part = {"state": State.OK} | part
        self.asked = 0

    async def measure(self) -> Sequence[Part]:
        self.asked += 1
        await asyncio.sleep(0)
        if isinstance(self.part.get("raises"), Exception):
            raise self.part["raises"]
        return [Part(**{"name": self.name, "title": self.name.upper()} | self.part)]


class Hanging:
    """A source that never answers."""

    name = "stuck"

    async def measure(self) -> Sequence[Part]:
        await asyncio.Event().wait()
        return []


@pytest.mark.parametrize(
    ("parts", "whole"),
    [
        ([{}], State.OK),
        ([{"state": State.DEGRADED}], State.DEGRADED),
        ([{"state": State.DOWN}], State.DEGRADED),
        ([{"state": State.DOWN, "vital": True}, {"state": State.DEGRADED}], State.DOWN),
        ([{"state": State.UNKNOWN}], State.OK),
    ],
)
async def test_the_whole_is_down_only_when_a_vital_part_is(parts, whole) -> None:
    made = Monitor(sources=[Given(str(n), **part) for n, part in enumerate(parts)])
    assert (await made.measure()).state is whole


async def test_the_gravest_cause_comes_first() -> None:
    made = Monitor(
        sources=[
            Given("a", state=State.DEGRADED, cause="slow"),
            Given("b", state=State.DOWN, vital=True, cause="gone"),
            Given("c", state=State.DOWN, cause="gone"),
        ]
    )
    assert (await made.measure()).causes == ["gone", "slow"]


async def test_who_asks_meanwhile_gets_the_same_measurement() -> None:
    source = Given()
    made = Monitor(sources=[source])
    reports = await asyncio.gather(*(made.measure() for _ in range(20)))
    assert source.asked == 1
    assert all(one is reports[0] for one in reports)


async def test_a_caller_who_gives_up_does_not_end_the_others_measurement() -> None:
    made = Monitor(sources=[Given()])
    first = asyncio.create_task(made.measure())
    second = asyncio.create_task(made.measure())
    await asyncio.sleep(0)
    first.cancel()
    assert (await second).state is State.OK


@pytest.mark.parametrize("source", [Given("bad", raises=ValueError("no such thing")), Hanging()])
async def test_a_source_that_fails_or_hangs_is_unknown_and_hurts_no_other(monkeypatch, source) -> None:
    monkeypatch.setattr(monitor, "SOURCE_TIMEOUT_SECONDS", 0.02)
    report = await Monitor(sources=[source, Given("good")]).measure()
    assert [part.state for part in report.parts] == [State.UNKNOWN, State.OK]
    assert source.name in report.causes[0]


async def test_a_fresh_report_is_given_again_and_an_old_one_is_measured_anew() -> None:
    source = Given()
    made = Monitor(sources=[source])
    assert await made.report() is await made.report()
    assert source.asked == 1
    made._measured_at -= monitor.STALE_SECONDS
    await made.report()
    assert source.asked == 2


async def test_since_is_when_the_state_began() -> None:
    class Moving:
        at = clock.now()

        def now(self):
            return self.at

        def monotonic(self) -> float:
            return self.at.timestamp()

    time, source = Moving(), Given()
    made = Monitor(sources=[source])
    with clock.use_clock(time):
        first = (await made.measure()).parts[0].since
        time.at += timedelta(seconds=9)
        assert (await made.measure()).parts[0].since == first
        source.part["state"] = State.DOWN
        assert (await made.measure()).parts[0].since == time.at


async def test_the_history_holds_figures_and_has_a_bound(monkeypatch) -> None:
    source = Given(figures={"lag_events": 1.0})
    made = Monitor(sources=[source])
    for _ in range(monitor.HISTORY_SAMPLES + 5):
        assert await made.turn() == monitor.INTERVAL_SECONDS
    assert len(made.history()) == monitor.HISTORY_SAMPLES
    assert made.history()[-1].figures == {"a.lag_events": 1.0}
