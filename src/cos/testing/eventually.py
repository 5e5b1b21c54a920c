"""Waits until something comes true, for as long as it may take and no longer."""

from __future__ import annotations

import asyncio
import inspect
import time
from typing import TYPE_CHECKING, Any, Final

from cos.common import clock
from cos.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Callable

_FIRST_PAUSE_SECONDS: Final = 0.002
_LONGEST_PAUSE_SECONDS: Final = 0.05


class NeverCameTrue(AssertionError):
    """What a test waited for did not happen in time."""


def eventually(check: Callable[[], Any], *, seconds: float = 10.0) -> Any:
    """Call `check` until it gives something true, and give that; what it raises counts as "not yet".

    In a running event loop this is awaited (`await eventually(…)`), and `check` may be async; elsewhere it returns when
    it is done.

    Args:
        check: what should come true; quick, and free of effects.
        seconds: how long it may take.

    Raises:
        NeverCameTrue: it did not; says what came last, and has what `check` raised as its cause.
        BadInput: `check` is async and no loop runs.
    """
    wait = _Wait(check, seconds)
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        if inspect.iscoroutinefunction(check):
            raise BadInput(
                f"eventually() was given the async function {_name(check)!r} where no event loop runs: "
                "call it in an async test."
            ) from None
        return _poll(wait)
    return _poll_in_loop(wait)


def poll(check: Callable[[], Any], *, seconds: float) -> Any:
    """Do what `eventually` does and return when it is done, also where a loop runs: for who may hold it up.

    Args:
        check: what should come true; not async.
        seconds: how long it may take.

    Raises:
        NeverCameTrue: it did not.
    """
    return _poll(_Wait(check, seconds))


def _poll(wait: _Wait) -> Any:
    while not wait.tried(wait.call):
        time.sleep(wait.pause())
    return wait.found


async def _poll_in_loop(wait: _Wait) -> Any:
    while True:
        found: Any = None
        error: Exception | None = None
        try:
            found = wait.call()
            if inspect.isawaitable(found):
                found = await found
        except Exception as raised:  # noqa: BLE001  (whatever keeps it from being true may pass)
            error = raised
        if wait.judged(found, error):
            return found
        await asyncio.sleep(wait.pause())


class _Wait:
    """How a wait goes."""

    def __init__(self, check: Callable[[], Any], seconds: float) -> None:
        self.call = check
        self.found: Any = None
        self._seconds = seconds
        self._end = clock.monotonic() + seconds
        self._pause = _FIRST_PAUSE_SECONDS

    def tried(self, call: Callable[[], Any]) -> bool:
        try:
            self.found = call()
        except Exception as error:  # noqa: BLE001  (whatever keeps it from being true may pass)
            return self.judged(None, error)
        return self.judged(self.found, None)

    def judged(self, found: Any, error: Exception | None) -> bool:
        if error is None and found:
            return True
        if clock.monotonic() < self._end:
            return False
        last = f"raised {type(error).__name__}: {error}" if error else f"gave {found!r}"
        raise NeverCameTrue(
            f"{_name(self.call)} did not come true within {self._seconds:g} s; at last it {last}."
        ) from error

    def pause(self) -> float:
        now, self._pause = self._pause, min(self._pause * 1.5, _LONGEST_PAUSE_SECONDS)
        return now


def _name(check: Callable[[], Any]) -> str:
    name = getattr(check, "__qualname__", repr(check)).rpartition("<locals>.")[2]
    if name != "<lambda>":
        return name
    try:
        return " ".join(inspect.getsource(check).split())
    except (OSError, TypeError):
        return name
