"""The breaker's states, under a clock of our own and many callers at once."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from cos.common import clock
from cos.common.circuit_breaker import BreakerOpen, CircuitBreaker, Counts, State
from cos.errors import BadSetting


class HandClock:
    """Time that moves when the test says so."""

    def __init__(self) -> None:
        self.passed = 0.0

    def now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=self.passed)

    def monotonic(self) -> float:
        return 1000.0 + self.passed


@pytest.fixture
def time() -> Iterator[HandClock]:
    hand = HandClock()
    with clock.use_clock(hand):
        yield hand


def breaker(threshold: int = 3, slow_seconds: float | None = None) -> CircuitBreaker:
    return CircuitBreaker(
        name="Redis",
        failures=(OSError,),
        failure_threshold=threshold,
        reset_seconds=2.0,
        slow_seconds=slow_seconds,
    )


async def fine() -> str:
    return "answer"


async def broken() -> str:
    raise OSError("away")


async def fail(subject: CircuitBreaker, times: int) -> None:
    for _ in range(times):
        with pytest.raises(OSError, match="away"):
            await subject.call(broken)


class TestClosed:
    async def test_answers_pass(self, time: HandClock) -> None:
        subject = breaker()
        assert await subject.call(fine) == "answer"
        assert subject.state is State.CLOSED

    async def test_it_opens_at_the_threshold_and_not_before(self, time: HandClock) -> None:
        subject = breaker(threshold=3)
        await fail(subject, 2)
        assert subject.state is State.CLOSED
        await fail(subject, 1)
        assert subject.state is State.OPEN

    async def test_only_failures_in_a_row_count(self, time: HandClock) -> None:
        subject = breaker(threshold=2)
        for _ in range(5):
            await fail(subject, 1)
            await subject.call(fine)
        assert subject.state is State.CLOSED
        assert subject.counts.failures == 5

    async def test_an_exception_that_is_not_the_servers_fault_is_a_success(self, time: HandClock) -> None:
        """A wrong argument shows that the server answers: it ends a row of failures."""

        async def mistaken() -> None:
            raise KeyError("ours")

        subject = breaker(threshold=2)
        await fail(subject, 1)
        with pytest.raises(KeyError):
            await subject.call(mistaken)
        await fail(subject, 1)
        assert subject.state is State.CLOSED

    async def test_a_cancelled_call_counts_neither_way(self, time: HandClock) -> None:
        subject = breaker(threshold=2)
        await fail(subject, 1)
        waiting = asyncio.create_task(subject.call(asyncio.Event().wait))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert subject.snapshot().failure_count == 1

    @pytest.mark.parametrize(("seconds", "state"), [(1.0, State.CLOSED), (1.5, State.OPEN)])
    async def test_a_slow_answer_is_given_and_counts_as_a_failure(
        self, time: HandClock, seconds, state
    ) -> None:
        async def slow() -> str:
            time.passed += seconds
            return "late"

        subject = breaker(threshold=1, slow_seconds=1.0)
        assert await subject.call(slow) == "late"
        assert subject.state is state

    @pytest.mark.parametrize(("seconds", "state"), [(1.0, State.CLOSED), (1.5, State.OPEN)])
    async def test_who_loses_patience_with_a_slow_call_tells_of_it(
        self, time: HandClock, seconds, state
    ) -> None:
        """A server that hangs answers nothing that could count: its callers' time limits end the calls."""
        entered = asyncio.Event()

        async def hang() -> None:
            time.passed += seconds
            entered.set()
            await asyncio.Event().wait()

        subject = breaker(threshold=1, slow_seconds=1.0)
        call = asyncio.create_task(subject.call(hang))
        await entered.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert subject.state is state

    async def test_it_counts_what_happened(self, time: HandClock) -> None:
        async def slow() -> None:
            time.passed += 1.5

        subject = breaker(threshold=2, slow_seconds=1.0)
        await subject.call(fine)
        await subject.call(slow)
        await fail(subject, 1)
        for _ in range(3):
            with pytest.raises(BreakerOpen):
                await subject.call(fine)
        time.passed += 2.0
        await fail(subject, 1)
        time.passed += 2.0
        await subject.call(fine)
        assert subject.counts == Counts(calls=5, refused=3, failures=3, slow=1, opened=2, closed=1)

    @pytest.mark.parametrize(("threshold", "reset"), [(0, 1.0), (1, 0.0), (1, -1.0)])
    def test_numbers_out_of_range_are_named(self, threshold, reset) -> None:
        with pytest.raises(BadSetting, match=f"not {threshold} and {reset:g}"):
            CircuitBreaker(name="x", failures=(OSError,), failure_threshold=threshold, reset_seconds=reset)


class TestOpen:
    async def test_calls_are_refused_without_being_made(self, time: HandClock) -> None:
        subject = breaker()
        await fail(subject, 3)

        async def must_not_run() -> None:
            pytest.fail("the open breaker made the call")

        with pytest.raises(BreakerOpen, match="Redis failed 3 times in a row"):
            await subject.call(must_not_run)
        assert subject.counts.failures == 3

    async def test_the_snapshot_says_since_when_and_until_when(self, time: HandClock) -> None:
        subject = breaker()
        await fail(subject, 3)
        time.passed += 1.5
        known = subject.snapshot()
        assert (known.state, known.failure_count) == (State.OPEN, 3)
        assert known.last_failure_time == datetime(2026, 1, 1, tzinfo=UTC)
        assert known.next_attempt_time == datetime(2026, 1, 1, 0, 0, 2, tzinfo=UTC)
        time.passed += 0.5
        assert subject.snapshot().state is State.HALF_OPEN
        assert subject.snapshot().next_attempt_time is None

    @pytest.mark.parametrize("ending", [fine, broken])
    async def test_a_call_from_before_it_opened_moves_nothing(self, time: HandClock, ending) -> None:
        """Its answer set out before the failures: it neither closes the breaker nor keeps it open for longer."""
        subject = breaker()
        end = asyncio.Event()

        async def old() -> str:
            await end.wait()
            return await ending()

        late = asyncio.create_task(subject.call(old))
        await asyncio.sleep(0)
        await fail(subject, 3)
        time.passed += 1.9
        end.set()
        await asyncio.gather(late, return_exceptions=True)
        assert subject.state is State.OPEN
        time.passed += 0.1
        assert subject.state is State.HALF_OPEN


class TestHalfOpen:
    async def test_of_fifty_callers_exactly_one_probes(self, time: HandClock) -> None:
        subject = breaker()
        await fail(subject, 3)
        time.passed += 2.0
        calls = 0
        end = asyncio.Event()

        async def counted() -> str:
            nonlocal calls
            calls += 1
            await end.wait()
            return "back"

        callers = [asyncio.create_task(subject.call(counted)) for _ in range(50)]
        await asyncio.sleep(0)
        time.passed += 10.0
        late = [asyncio.create_task(subject.call(counted)) for _ in range(10)]
        await asyncio.sleep(0)
        assert (calls, subject.state) == (1, State.HALF_OPEN)
        end.set()
        found = await asyncio.gather(*callers, *late, return_exceptions=True)
        assert found[0] == "back"
        assert all(isinstance(one, BreakerOpen) for one in found[1:])
        assert subject.state is State.CLOSED
        assert subject.snapshot().failure_count == 0

    async def test_a_failed_probe_opens_it_again_for_the_whole_time(self, time: HandClock) -> None:
        subject = breaker()
        await fail(subject, 3)
        time.passed += 2.0
        await fail(subject, 1)
        time.passed += 1.9
        assert subject.state is State.OPEN
        time.passed += 0.2
        assert await subject.call(fine) == "answer"
        assert subject.state is State.CLOSED

    async def test_a_cancelled_probe_leaves_the_next_call_to_probe(self, time: HandClock) -> None:
        subject = breaker()
        await fail(subject, 3)
        time.passed += 2.0
        probe = asyncio.create_task(subject.call(asyncio.Event().wait))
        await asyncio.sleep(0)
        with pytest.raises(BreakerOpen):
            await subject.call(fine)
        probe.cancel()
        await asyncio.gather(probe, return_exceptions=True)
        assert subject.state is State.HALF_OPEN
        assert await subject.call(fine) == "answer"
        assert subject.state is State.CLOSED

    async def test_a_slow_probe_opens_it_again(self, time: HandClock) -> None:
        async def slow() -> None:
            time.passed += 1.5

        subject = breaker(slow_seconds=1.0)
        await fail(subject, 3)
        time.passed += 2.0
        await subject.call(slow)
        assert subject.state is State.OPEN
