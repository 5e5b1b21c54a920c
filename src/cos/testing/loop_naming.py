"""Turns asyncio's own errors into named ones that say where the thing was made and whose loop it belongs to."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Iterator
from types import TracebackType
from typing import Any

from cos.testing.loop_errors import LoopError, NestedRun, OtherLoop
from cos.testing.loop_ledger import Ledger, in_test, origin_of
from cos.testing.sites import locate_raise

_NESTED = re.compile(
    r"cannot be called from a running event loop|event loop is already running"
    r"|cannot run the event loop while another loop is running",
    re.IGNORECASE,
)
_OTHER = re.compile(
    r"attached to a different loop|different event loop|belongs to a different loop", re.IGNORECASE
)
_CLOSED = re.compile(r"event loop is closed", re.IGNORECASE)
_MOST = 30


def named(error: BaseException, ledger: Ledger) -> LoopError | None:
    """Find asyncio's complaint in an exception, its causes or its group, and name it.

    Args:
        error: what a test raised.
        ledger: what is known of loops.

    Returns:
        The named error; None when there is nothing to name, or it has been named already.
    """
    if isinstance(error, LoopError):
        return None
    for one in _chain(error):
        if isinstance(one, LoopError):
            return one
        text = str(one)
        if isinstance(one, RuntimeError) and ledger.looks_for("nested") and _NESTED.search(text):
            return _nested(one, ledger)
        if isinstance(one, (RuntimeError, ValueError)) and ledger.looks_for("conflict"):
            if _OTHER.search(text):
                return _other(one, ledger)
            if isinstance(one, RuntimeError) and _CLOSED.search(text):
                return _closed(one, ledger)
    return None


def _nested(error: RuntimeError, ledger: Ledger) -> NestedRun:
    return NestedRun(
        f"{locate_raise(error.__traceback__)} starts an event loop while the loop of {ledger.test} runs "
        f"({error}): await the coroutine instead, or give the work to a thread with asyncio.to_thread."
    )


def _other(error: BaseException, ledger: Ledger) -> OtherLoop:
    here = ledger.last_loop.get(threading.get_ident())
    for value in _values(error.__traceback__):
        if asyncio.isfuture(value) and id(value.get_loop()) != here:
            origin, loop = origin_of(value), value.get_loop()
            made = f"was made at {origin.site}, {in_test(origin.test)}, and " if origin else ""
            kind = "Task" if isinstance(value, asyncio.Task) else "Future"
            return OtherLoop(
                f"{locate_raise(error.__traceback__)} awaits a {kind} that belongs to another event loop: it {made}"
                f"belongs to a loop that {_story(loop, ledger)}; now the loop of {ledger.test} runs. "
                "Make it in the loop that uses it, or give both the same loop scope."
            )
    return OtherLoop(
        f"{locate_raise(error.__traceback__)} uses something that belongs to another event loop than that of "
        f"{ledger.test} ({error}): make it in the loop that uses it, or give both the same loop scope."
    )


def _closed(error: RuntimeError, ledger: Ledger) -> OtherLoop | None:
    here = ledger.last_loop.get(threading.get_ident())
    for value in _values(error.__traceback__):
        if isinstance(value, asyncio.AbstractEventLoop) and value.is_closed() and id(value) != here:
            return OtherLoop(
                f"{locate_raise(error.__traceback__)} uses something that belongs to an event loop that is closed: it "
                f"{_story(value, ledger)}; now the loop of {ledger.test} runs. "
                "Make it in the loop that uses it, or give both the same loop scope."
            )
    return None


def _story(loop: asyncio.AbstractEventLoop, ledger: Ledger) -> str:
    first = ledger.loops.get(loop)
    return "never ran" if first is None else f"first ran {in_test(first)}"


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Give an exception with all that it came of, outermost first."""
    queue, seen = [error], set[int]()
    while queue and len(seen) < _MOST:
        one = queue.pop(0)
        if id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        if isinstance(one, BaseExceptionGroup):
            queue.extend(one.exceptions)
        queue.extend(e for e in (one.__cause__, one.__context__) if e is not None)


def _values(traceback: TracebackType | None) -> Iterator[Any]:
    """Give what the frames of a traceback hold, and what their objects hold, innermost frame first."""
    frames = []
    while traceback is not None:
        frames.append(traceback.tb_frame)
        traceback = traceback.tb_next
    for frame in reversed(frames):
        spaces = [frame.f_locals, {name: frame.f_globals.get(name) for name in frame.f_code.co_names}]
        for space in spaces:
            for value in list(space.values()):
                yield value
                inner = getattr(value, "__dict__", None)
                if isinstance(inner, dict):
                    yield from list(inner.values())
