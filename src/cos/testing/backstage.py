"""The kit's own thread with its own event loop, where servers are started and watched while tests run in theirs.

The kernel ends a server with the thread that started it, so this thread lives as long as the session.
"""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

_Result = TypeVar("_Result")
_CLOSE_SECONDS: Final = 10.0


class Backstage:
    """An event loop in a daemon thread; may be called from any other thread, whatever loop runs there."""

    def __init__(self) -> None:
        """Start the thread and return when its loop runs."""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._live, name="cos-testing", daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, _Result], *, seconds: float) -> _Result:
        """Run a coroutine there and give its result.

        Args:
            work: the coroutine.
            seconds: how long it may take; then it is cancelled.

        Raises:
            TimeoutError: it took longer.
        """
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result(seconds)
        except BaseException:
            future.cancel()
            raise

    def begin(self, work: Coroutine[Any, Any, _Result]) -> Future[_Result]:
        """Begin a coroutine there and return at once; its owner waits for the future or cancels it."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def later(self, seconds: float, call: Callable[[], object]) -> Callable[[], None]:
        """Call something in a thread of its own after some time; gives what calls it off."""
        timer = threading.Timer(seconds, call)
        timer.daemon = True
        timer.start()
        return timer.cancel

    def close(self) -> None:
        """End what still runs, the loop and the thread."""
        asyncio.run_coroutine_threadsafe(_cancel_the_others(), self._loop).result(_CLOSE_SECONDS)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_CLOSE_SECONDS)
        self._loop.close()

    def _live(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()


async def _cancel_the_others() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    if others:
        await asyncio.wait(others, timeout=_CLOSE_SECONDS / 2)
