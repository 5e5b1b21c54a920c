"""A time limit for one task's calls, one after the other: a timer a worker instead of one a call."""

from __future__ import annotations

import asyncio


class Deadline:
    """Cancels the task that made it when a call has lasted too long.

    `begin` and `end` stand around each call. The timer is left running when a call ends in time, and only looks, when
    it goes off, whether the call of that moment is late: many short calls cost nothing. `task` is the task.
    """

    def __init__(self, *, seconds: float) -> None:
        """Take the limit; must be made inside the task that it guards.

        Raises:
            RuntimeError: there is no task.
        """
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a deadline guards the calls of a task, and there is none here")
        self.task = task
        self._loop = asyncio.get_running_loop()
        self._seconds = seconds
        self._ends: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._expired = False

    def begin(self) -> None:
        """Begin a call."""
        self._ends = self._loop.time() + self._seconds
        if self._timer is None:
            self._timer = self._loop.call_at(self._ends, self._look)

    def end(self) -> bool:
        """End a call; says whether it was cancelled because it was late, and takes that cancellation back."""
        self._ends = None
        was_late, self._expired = self._expired, False
        if was_late:
            self.task.uncancel()
        return was_late

    def close(self) -> None:
        """Stop the timer."""
        if self._timer is not None:
            self._timer.cancel()

    def _look(self) -> None:
        self._timer = None
        if self._ends is None:
            return
        if self._loop.time() < self._ends:
            self._timer = self._loop.call_at(self._ends, self._look)
            return
        self._expired = True
        self.task.cancel()
