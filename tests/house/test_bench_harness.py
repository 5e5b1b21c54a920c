"""The benchmark harness tells the truth about callables whose cost is known."""

from __future__ import annotations

import asyncio
import json
from itertools import count

import pytest


@pytest.fixture(scope="module")
def harness(script):
    return script("bench/harness.py")


class StandInClock:
    """A clock that moves only when a callable says how long it took."""

    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        return self.now

    def takes(self, seconds):
        """Make an async callable that takes `seconds()`."""

        async def call() -> None:
            self.now += seconds()

        return call


@pytest.fixture(autouse=True)
def no_collection(harness, monkeypatch) -> None:
    """Leave the garbage of the whole test run where it is: collecting it a hundred times takes seconds."""
    monkeypatch.setattr(harness.gc, "collect", lambda: 0)


@pytest.fixture
def clock(harness, monkeypatch) -> StandInClock:
    clock = StandInClock()
    monkeypatch.setattr(harness.time, "perf_counter", clock.perf_counter)
    return clock


class TestCompare:
    """What is measured, in which order, and what comes out."""

    async def test_ratio_of_known_costs(self, harness, clock) -> None:
        """A subject that takes twice as long has half the throughput, in every round."""
        result = await harness.compare(
            clock.takes(lambda: 0.002), clock.takes(lambda: 0.001), rounds=5, inner=10
        )
        assert result.ratios == pytest.approx((0.5,) * 5)
        assert [result.ratio, result.ratio_min, result.ratio_max] == pytest.approx([0.5] * 3)
        assert [result.ratio_low, result.ratio_high] == pytest.approx([0.5] * 2)
        assert result.subject.per_second == pytest.approx((500,) * 5)
        assert result.floor.per_second == pytest.approx((1000,) * 5)

    async def test_a_machine_that_slows_down_cancels_out(self, harness, clock) -> None:
        """Each call is slower than the one before, whoever makes it: the two are still told to be equal."""
        slowing = count(1000)
        calls = [clock.takes(lambda: next(slowing) / 1e6) for _ in range(2)]
        result = await harness.compare(*calls, rounds=20, inner=10)
        assert result.subject.per_second[0] > 1.2 * result.subject.per_second[-1]
        assert result.ratio == pytest.approx(1, abs=0.01)
        assert result.ratio_low <= 1 <= result.ratio_high

    async def test_order_alternates_after_a_round_that_is_not_counted(self, harness) -> None:
        order = []

        async def subject() -> None:
            order.append("A")

        async def floor() -> None:
            order.append("B")

        result = await harness.compare(subject, floor, rounds=4, inner=2)
        assert "".join(order) == "BBAA" + "AABB" + "BBAA" + "AABB" + "BBAA"
        assert len(result.ratios) == len(result.subject.per_second) == 4

    async def test_with_itself(self, harness, clock) -> None:
        """The same callable on both sides is measured as two, and comes out as equal."""
        call = clock.takes(lambda: 0.001)
        result = await harness.compare(call, call, rounds=3, inner=2)
        assert result.ratios == pytest.approx((1,) * 3)

    async def test_percentiles_are_of_all_calls(self, harness, clock) -> None:
        """One call in twenty takes 100 ms, all others 1 ms."""
        numbers = count()
        uneven = clock.takes(lambda: 0.1 if next(numbers) % 20 == 19 else 0.001)
        result = await harness.compare(uneven, clock.takes(lambda: 0.001), rounds=5, inner=100)
        side = result.subject
        assert [side.latency_ms_p50, side.latency_ms_p99] == pytest.approx([1, 100])
        assert result.floor.latency_ms_p99 == pytest.approx(1)

    async def test_workers_are_under_way_at_once(self, harness) -> None:
        """With three workers, a call that waits for two others comes to an end."""
        barrier = asyncio.Barrier(3)
        result = await asyncio.wait_for(
            harness.compare(barrier.wait, _nothing, rounds=2, inner=6, workers=3), 30
        )
        assert len(result.ratios) == 2

    @pytest.mark.parametrize("bad", [{"rounds": 1}, {"inner": 0}, {"workers": 0}, {"workers": 3}])
    async def test_bad_numbers_are_named(self, harness, bad) -> None:
        with pytest.raises(ValueError, match="{}={}".format(*next(iter(bad.items())))):
            await harness.compare(_nothing, _nothing, **({"rounds": 2, "inner": 10} | bad))


class TestStatistics:
    """The interval and the percentiles."""

    def test_interval_is_repeatable_and_holds_the_median(self, harness) -> None:
        ratios = [0.8, 0.9, 1.0, 1.1, 1.3, 0.95, 1.05]
        low, high = harness.bootstrap(ratios, seed=1)
        assert (low, high) == harness.bootstrap(ratios, seed=1)
        assert 0.8 <= low < 1.0 < high <= 1.3

    @pytest.mark.parametrize(("share", "value"), [(0, 1), (0.25, 2), (0.5, 3), (0.9, 4.6), (1, 5)])
    def test_quantile(self, harness, share, value) -> None:
        assert harness.quantile([1, 2, 3, 4, 5], share) == pytest.approx(value)


class TestResults:
    """What is kept and shown."""

    async def test_saved_and_shown(self, harness, clock, tmp_path) -> None:
        result = await harness.compare(
            clock.takes(lambda: 0.002), clock.takes(lambda: 0.001), rounds=2, inner=3, name="record"
        )
        path = tmp_path / "results/one.json"
        harness.save([result], path)
        saved = json.loads(path.read_text())
        assert saved["results"][0]["name"] == "record"
        assert saved["results"][0]["ratio"] == pytest.approx(0.5)
        assert saved["machine"]["cores"] > 0
        assert harness.table([result]).splitlines()[2] == (
            "| record | 0.50 | 0.50 to 0.50 | 0.50 to 0.50 | 500, 1,000 | 2.000, 1.000 | 2.000, 1.000 | 2.000, 1.000 |"
        )


async def _nothing() -> None:
    pass
