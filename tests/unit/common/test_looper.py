"""The one loop behind every background part: it survives, backs off, hears rings, and stops."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from cos.common import ids
from cos.common.looper import FIRST_RETRY_SECONDS, LAST_RETRY_SECONDS, RUNG_RETRY_SECONDS, Looper
from cos.errors import Unavailable

LONG = 600.0


class Scripted:
    """A part whose turns are given: a number is a delay, an exception is raised; then it waits for long."""

    def __init__(self, *script: float | Exception) -> None:
        self.script = list(script)
        self.turns = 0
        self.looper = Looper(name="scripted", part=self)
        self.looked = asyncio.Event()
        self.meanwhile: Callable[[], None] | None = None

    async def turn(self) -> float:
        self.turns += 1
        self.looked.set()
        if self.meanwhile is not None:
            self.meanwhile()
        step = self.script.pop(0) if self.script else LONG
        if isinstance(step, Exception):
            raise step
        return step

    async def reach(self, turns: int) -> None:
        async with asyncio.timeout(20):
            while self.turns < turns:
                await self.looked.wait()
                self.looked.clear()


@pytest.fixture
async def begin() -> AsyncIterator[Callable[..., Scripted]]:
    parts: list[Scripted] = []

    def make(*script: float | Exception) -> Scripted:
        part = Scripted(*script)
        parts.append(part)
        part.looper.start()
        return part

    yield make
    for part in parts:
        await part.looper.stop()


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Note how long the loop means to wait after each failure, and let it wait no longer than a moment."""
    seen: list[float] = []

    def note(seconds: float) -> float:
        seen.append(seconds)
        return 0.0

    monkeypatch.setattr(ids, "jitter", note)
    return seen


class TestTurns:
    async def test_zero_means_at_once_and_never_starves_the_others(self, begin) -> None:
        """A part that always has more to do leaves the event loop to others between its turns."""
        part = begin(*[0.0] * 100)
        await part.reach(101)

    async def test_a_ring_ends_the_wait(self, begin) -> None:
        part = begin()
        await part.reach(1)
        part.looper.ring()
        await part.reach(2)

    async def test_a_ring_during_a_turn_counts_for_the_wait_after_it(self, begin) -> None:
        part = begin()
        await part.reach(1)
        part.meanwhile = lambda: part.looper.ring() if part.turns == 2 else None
        part.looper.ring()
        await part.reach(3)

    async def test_many_rings_are_one(self, begin) -> None:
        part = begin()
        await part.reach(1)
        for _ in range(100):
            part.looper.ring()
        await part.reach(2)
        for _ in range(20):
            await asyncio.sleep(0)
        assert part.turns == 2

    async def test_a_second_start_gives_no_second_loop(self, begin) -> None:
        part = begin()
        part.looper.start()
        await part.reach(1)
        for _ in range(20):
            await asyncio.sleep(0)
        assert part.turns == 1


class TestFailures:
    async def test_any_exception_only_delays_the_next_turn(self, begin, waits) -> None:
        part = begin(RuntimeError("bug"), Unavailable("away"), OSError("gone"), ValueError("odd"))
        await part.reach(5)
        assert len(waits) == 4

    async def test_the_wait_doubles_up_to_its_bound_and_a_good_turn_forgets(self, begin, waits) -> None:
        part = begin(*[OSError("away")] * 12, 0.0, OSError("away"))
        await part.reach(15)
        assert waits[:4] == [FIRST_RETRY_SECONDS * factor for factor in (1, 2, 4, 8)]
        assert waits[7:12] == [LAST_RETRY_SECONDS] * 5
        assert waits[12] == FIRST_RETRY_SECONDS

    async def test_the_last_error_is_kept_until_a_turn_succeeds(self, begin, monkeypatch) -> None:
        monkeypatch.setattr(ids, "jitter", lambda seconds: LONG)
        error = OSError("away")
        part = begin(error)
        await part.reach(1)
        await asyncio.sleep(0)
        assert (part.looper.failures, part.looper.last_error) == (1, error)
        part.looper.ring()
        await part.reach(2)
        await asyncio.sleep(0)
        assert (part.looper.failures, part.looper.last_error) == (0, None)

    async def test_rings_do_not_storm_a_server_that_is_away(self, begin, monkeypatch) -> None:
        """However often it is rung, a failing part gets its next turn no sooner than the loop's own bound."""
        monkeypatch.setattr(ids, "jitter", lambda seconds: LONG)
        part = begin(OSError("away"))
        await part.reach(1)
        loop = asyncio.get_running_loop()
        failed_at = loop.time()
        async with asyncio.timeout(20):
            while part.turns < 2:
                part.looper.ring()
                await asyncio.sleep(0.001)
        assert loop.time() - failed_at > RUNG_RETRY_SECONDS * 0.9


class TestStop:
    async def test_it_ends_a_wait_and_a_turn(self) -> None:
        waiting, working = Scripted(), Scripted()
        never = asyncio.Event()

        async def turn() -> float:
            working.turns += 1
            working.looked.set()
            await never.wait()
            return 0.0

        working.turn = turn
        for part in (waiting, working):
            part.looper.start()
            await part.reach(1)
            async with asyncio.timeout(10):
                await part.looper.stop()
            assert part.turns == 1

    async def test_a_part_that_swallows_its_cancellation_is_stopped_all_the_same(self) -> None:
        part = Scripted()
        swallowed = 0

        async def turn() -> float:
            nonlocal swallowed
            part.turns += 1
            part.looked.set()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                swallowed += 1
            return 0.0

        part.turn = turn
        part.looper.start()
        await part.reach(1)
        async with asyncio.timeout(10):
            await part.looper.stop()
        assert (part.turns, swallowed) == (1, 1)

    async def test_it_may_be_repeated_and_come_before_the_start(self) -> None:
        part = Scripted()
        await part.looper.stop()
        part = Scripted()
        part.looper.start()
        await part.reach(1)
        await asyncio.gather(part.looper.stop(), part.looper.stop())
        await part.looper.stop()
        assert [task for task in asyncio.all_tasks() if task.get_name() == "looper:scripted"] == []
