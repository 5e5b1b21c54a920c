"""Sees a call that keeps an event loop from everything else, and where in the code it does so.

A thread sends each running loop a beat and looks, while it is not answered, at what the loop's thread is doing. Time
counts only while one and the same callback is seen, not when a look itself is late, and not while the thread waited
for a CPU: a busy machine, or a loop with much to do in small pieces, is not taken for a blocking call, nor is a
first import. What late looks miss, and a call that holds the interpreter itself (nothing can look then), is told by the
CPU time of the thread.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType

from cos.testing import stopwatch
from cos.testing.sites import MACHINERY, Site, kind_of

_SHARE = 5
_LEAST_PERIOD_S = 0.004
_DEEPEST = 60
_STOP_S = 2.0
_IMPORT = "<frozen importlib"
#: Where the kit itself waits while a fault is made or healed: what a test asks for is not held against it.
_OWN_WAITS = tuple(
    str(Path(__file__).with_name(f"{name}.py"))
    for name in ("arming", "lease", "backstage", "clusters", "aside")
)


@dataclass(frozen=True, slots=True)
class Blocked:
    """A call that kept a loop.

    Attributes:
        seconds: for how long at least.
        stack: the last that was seen of it, outermost first.
        common: how many frames of that were the same in all looks: the last of these is the call that takes long.
    """

    seconds: float
    stack: tuple[Site, ...]
    common: int


class _Pulse:
    """One thread's running loop and the beat that it has not answered yet."""

    def __init__(self, ident: int, tell: Callable[[Blocked], None]) -> None:
        self.ident = ident
        self.native = threading.get_native_id()
        self.loop: asyncio.AbstractEventLoop | None = None
        self._tell = tell
        self.limit_s = 0.0
        self._number = 0
        self._lock = threading.Lock()  # a look and an answer do not mix
        self._before_own: Blocked | None = None
        self._forget()

    def _forget(self) -> None:
        self._sent: float | None = None
        self._cpu: float | None = None
        self._root: FrameType | None = None
        self._roots = 0
        self._seen = 0.0
        self._queued = 0.0
        self._root_cpu: float | None = None
        self._busy = 0.0
        self._stack: tuple[Site, ...] = ()
        self._common = 0

    def look(self, now: float, gap: float) -> None:
        """Send a beat, or see what keeps the loop from answering the last one (in the watching thread)."""
        with self._lock:
            if self.loop is not None:
                self._look(self.loop, now, gap)

    def _look(self, loop: asyncio.AbstractEventLoop, now: float, gap: float) -> None:
        if self._sent is None:
            self._number += 1
            self._cpu = stopwatch.cpu_seconds_of_thread(self.ident)
            self._sent = now
            try:
                loop.call_soon_threadsafe(self._answer, self._number)
            except RuntimeError:  # closed in this moment
                self._sent = None
            return
        whole = _whole_stack_of(self.ident)
        frames = _frames_of(whole)
        if not frames:
            return
        if any(frame.f_code.co_filename in _OWN_WAITS for frame in whole):
            self._before_own = self._before_own or self._seen_blocked()
            self._forget()  # the next beat begins behind it
            self._number += 1
            return
        root, cpu = frames[-1], stopwatch.cpu_seconds_of_thread(self.ident)
        if root is not self._root:
            self._roots += 1
            self._root, self._seen, self._stack = root, 0.0, ()
            self._queued = stopwatch.queued_seconds_of_thread(self.native)
            self._root_cpu = cpu
        self._seen += gap
        if cpu is not None and self._root_cpu is not None:
            self._busy = max(self._busy, cpu - self._root_cpu)
        stack = tuple(
            Site(f.f_code.co_filename, f.f_lineno, f.f_code.co_name) for f in reversed(frames[:_DEEPEST])
        )
        same = _same(self._stack, stack) if self._stack else len(stack)
        self._common = min(self._common, same) if self._stack else same
        self._stack = stack

    def _answer(self, number: int) -> None:
        if number == self._number:
            self.judge()

    def judge(self) -> None:
        """Say what the last beat showed, and be ready for the next one (in the loop's thread)."""
        if self._sent is None and self._before_own is None:
            return
        with self._lock:
            found = (self._before_own, self._judged())
            self._before_own = None
            self._number += 1
            self._forget()
        for blocked in found:
            if blocked is not None:
                self._tell(blocked)

    def _judged(self) -> Blocked | None:
        """Judge at the answer: the callback is over, and what it took is known to the end."""
        if self._sent is None:
            return None
        took = stopwatch.seconds() - self._sent
        cpu = 0.0 if self._cpu is None else stopwatch.thread_cpu_seconds() - self._cpu
        found = self._seen_blocked(cpu if self._roots == 1 else 0.0)
        return replace(found, seconds=took) if found is not None and self._roots == 1 else found

    def _seen_blocked(self, cpu: float = 0.0) -> Blocked | None:
        """Judge by what was seen of the last callback, and the CPU seconds that are known to be its own."""
        if not self._stack or not self.limit_s:
            return None
        seen = self._seen
        if seen >= self.limit_s:
            seen -= stopwatch.queued_seconds_of_thread(self.native) - self._queued
        is_import = any(site.file.startswith(_IMPORT) for site in self._stack)
        if is_import or max(seen, self._busy, cpu) < self.limit_s:
            return None
        return Blocked(max(self._seen, self._busy), self._stack, self._common)


class LoopWatch:
    """The watching thread, and the loops that it watches; start, stop, and what is told to it in between."""

    def __init__(self, *, tell: Callable[[Blocked], None]) -> None:
        """Take who is told of a blocking call; it is called in the loop's thread."""
        self._tell = tell
        self._pulses: dict[int, _Pulse] = {}
        self._limit_s = 0.0
        self._wake = threading.Event()
        self._stopped = False
        self._thread: threading.Thread | None = None

    def set_limit(self, seconds: float) -> None:
        """Say how long a call may keep a loop from now on; 0 stops to look, also while a person debugs."""
        if seconds == self._limit_s:
            return
        self._limit_s = seconds
        for pulse in list(self._pulses.values()):
            pulse.limit_s = seconds
        if seconds and self._thread is None:
            self._thread = threading.Thread(target=self._watch, name="cos-loop-watch", daemon=True)
            self._thread.start()
        elif seconds:
            self._wake.set()

    def entered(self, loop: asyncio.AbstractEventLoop) -> None:
        """Watch a loop that begins to run in this thread."""
        if self._limit_s:
            ident = threading.get_ident()
            pulse = self._pulses.get(ident)
            if pulse is None:
                pulse = self._pulses[ident] = _Pulse(ident, self._tell)
            pulse.limit_s = self._limit_s
            pulse.loop = loop

    def left(self, loop: asyncio.AbstractEventLoop) -> None:
        """Watch it no more."""
        pulse = self._pulses.get(threading.get_ident())
        if pulse is not None and pulse.loop is loop:
            pulse.loop = None
            pulse.judge()

    def stop(self) -> None:
        """End the thread."""
        self._stopped = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join(_STOP_S)

    def _watch(self) -> None:
        last = stopwatch.seconds()
        while not self._stopped:
            limit = self._limit_s
            if not limit:
                self._wake.wait()
                self._wake.clear()
                last = stopwatch.seconds()
                continue
            period = max(_LEAST_PERIOD_S, limit / _SHARE)
            self._wake.wait(period)
            self._wake.clear()
            now = stopwatch.seconds()
            gap = (
                now - last if now - last < 2 * period else 0.0
            )  # late ourselves: the machine gives nobody time
            last = now
            for pulse in list(self._pulses.values()):
                pulse.look(now, gap)


def _same(one: tuple[Site, ...], other: tuple[Site, ...]) -> int:
    """Count the outer frames in which two stacks agree."""
    count = 0
    for a, b in zip(one, other, strict=False):
        if (a.file, a.function) != (b.file, b.function):
            break
        count += 1
    return count


def _whole_stack_of(ident: int) -> list[FrameType]:
    """Give the frames of the callback that a loop's thread is in, innermost first, what called it included."""
    frame = sys._current_frames().get(ident)  # noqa: SLF001  (the only way to see another thread)
    frames: list[FrameType] = []
    while frame is not None:
        code = frame.f_code
        if code.co_name in ("_run_once", "run_forever") and kind_of(code.co_filename) == MACHINERY:
            break
        frames.append(frame)
        frame = frame.f_back
    return frames


def _frames_of(stack: list[FrameType]) -> list[FrameType]:
    """Give the frames that are the callback's own; none while the loop waits for work."""
    frames = stack[:]
    while frames and kind_of(frames[-1].f_code.co_filename) == MACHINERY:
        frames.pop()  # the loop's own call of the callback
    if len(frames) == 1 and frames[0].f_code.co_filename.endswith(f"{os.sep}selectors.py"):
        return []
    return frames
