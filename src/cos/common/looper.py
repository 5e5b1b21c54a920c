"""Background work: a part that takes turns, and the one loop that gives them to it."""

from __future__ import annotations

import asyncio
from typing import Protocol

import structlog

from cos.common import ids
from cos.errors import CosError

_log = structlog.get_logger("cos.looper")

FIRST_RETRY_SECONDS = 0.05
LAST_RETRY_SECONDS = 5.0
#: After a failure a ring does not bring the next turn sooner: a busy process must not storm a server that is away.
RUNG_RETRY_SECONDS = 0.25
REPEAT_CANCEL_SECONDS = 0.2


class Part(Protocol):
    """A background part: `turn` does one round of its work."""

    async def turn(self) -> float:
        """Do one round; give the seconds until the next is due (0 for at once)."""
        ...


class Looper:
    """Gives a part its turns until it is stopped; any exception but cancellation only delays the next turn.

    A turn that failed is tried again after 50 ms, doubling to 5 s, with jitter. `wake` (or `ring`, its name for who
    is handed a doorbell) ends the wait between two turns early, yet after a failure not before 250 ms have passed;
    a wake during a turn counts for the wait after it.
    """

    def __init__(self, *, name: str, part: Part) -> None:
        """Take the part; `start` begins.

        Args:
            name: shown in logs and as the task's name.
            part: whose turns they are.
        """
        self.name = name
        self.last_error: Exception | None = None
        self.failures = 0
        self._part = part
        self._awake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._stopping = False

    def start(self) -> None:
        """Begin to give turns; must be called with a running event loop."""
        if self._task is None:
            self._stopping = False
            self._task = asyncio.get_running_loop().create_task(self._run(), name=f"looper:{self.name}")

    def wake(self) -> None:
        """Let the next turn come at once."""
        self._awake.set()

    ring = wake

    async def stop(self) -> None:
        """Cancel the loop and wait until it has ended; harmless when it never began.

        A cancellation that comes while an answer arrives can be swallowed on the way (`asyncio.wait_for` does so
        before Python 3.12), so it is repeated until the task has ended.
        """
        task, self._task = self._task, None
        self._stopping = True
        while task is not None and not task.done():
            task.cancel()
            await asyncio.wait([task], timeout=REPEAT_CANCEL_SECONDS)

    async def _run(self) -> None:
        while not self._stopping:
            self._awake.clear()
            try:
                delay = await self._part.turn()
            except Exception as error:  # noqa: BLE001  (a background part survives everything but cancellation)
                delay = self._failed(error)
                least = min(delay, RUNG_RETRY_SECONDS)
                await asyncio.sleep(least)
                delay -= least
            else:
                self.failures = 0
                self.last_error = None
            if delay <= 0:
                await asyncio.sleep(0)
                continue
            timer = asyncio.get_running_loop().call_later(delay, self._awake.set)
            try:
                await self._awake.wait()
            finally:
                timer.cancel()

    def _failed(self, error: Exception) -> float:
        self.failures += 1
        repeated = self.last_error is not None and str(self.last_error) == str(error)
        self.last_error = error
        if not repeated:
            known = isinstance(error, CosError | OSError)
            _log.warning("turn_failed", part=self.name, error=str(error), exc_info=None if known else error)
        delay = min(FIRST_RETRY_SECONDS * 2.0 ** min(self.failures - 1, 10), LAST_RETRY_SECONDS)
        return ids.jitter(delay)
