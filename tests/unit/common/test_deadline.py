"""A deadline for many calls of one task."""

from __future__ import annotations

import asyncio

import pytest

from cos.common.deadline import Deadline


class TestDeadline:
    async def test_a_late_call_is_cancelled_and_the_task_goes_on(self) -> None:
        deadline = Deadline(seconds=0.02)
        for _ in range(2):
            deadline.begin()
            with pytest.raises(asyncio.CancelledError):
                async with asyncio.timeout(20):
                    await asyncio.Event().wait()
            assert deadline.end()
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0
        deadline.close()

    async def test_many_calls_in_time_although_together_they_last_longer(self) -> None:
        """The limit is of each call, not of all of them, and a task between two calls is left alone."""
        deadline = Deadline(seconds=0.05)
        loop = asyncio.get_running_loop()
        end = loop.time() + 0.2
        while loop.time() < end:
            deadline.begin()
            await asyncio.sleep(0)
            assert not deadline.end()
        passed = asyncio.Event()
        loop.call_later(0.15, passed.set)
        await passed.wait()
        deadline.close()

    async def test_one_that_swallows_its_cancellation_was_late_and_ended(self) -> None:
        deadline = Deadline(seconds=0.01)
        deadline.begin()
        try:
            async with asyncio.timeout(20):
                await asyncio.Event().wait()
        except asyncio.CancelledError:
            ended = True
        assert ended
        assert deadline.end()
        assert not deadline.end()
        deadline.close()
