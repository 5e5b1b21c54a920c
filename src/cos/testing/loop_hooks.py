"""Listens at asyncio itself: where loops run and close, and where tasks, futures, locks and generators are made.

It is put in place before a project's modules are imported, and only where the check is asked for. Each replacement
calls what it replaced, changes no result, and is taken back at the end.
"""

from __future__ import annotations

import asyncio
import asyncio.base_events
import asyncio.mixins
import asyncio.runners
import asyncio.selector_events
import functools
import sys
from collections.abc import Callable
from typing import Any

from cos.testing.loop_ledger import Ledger, Origin, origin_of
from cos.testing.sites import PROJECT, UNKNOWN, kind_of, locate

_BOUND = (asyncio.Lock, asyncio.Event, asyncio.Condition, asyncio.Semaphore, asyncio.Queue)


class LoopHooks:
    """The replacements; `install` and `remove` may be called again."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        entered: Callable[[asyncio.AbstractEventLoop], None],
        left: Callable[[asyncio.AbstractEventLoop], None],
        closing: Callable[[asyncio.AbstractEventLoop], None],
        dropped: Callable[[Any, Origin | None], None],
        disconnected: Callable[[Any, Origin], None],
    ) -> None:
        """Take the listeners.

        Args:
            ledger: what is written down.
            entered: called in the loop's thread before a loop runs.
            left: called there after it has run.
            closing: called before a runner cancels what is left in its loop.
            dropped: called for an async generator that nobody holds any more before it has ended.
            disconnected: called for a stream or transport that nobody holds any more while it is open.
        """
        self._ledger = ledger
        self._entered, self._left, self._closing, self._dropped = entered, left, closing, dropped
        self._disconnected = disconnected
        self._replaced: list[tuple[Any, str, Any]] = []
        self._loops: set[type] = set()

    def install(self) -> None:
        """Put all replacements in place."""
        if self._replaced:
            return
        self._replace(asyncio.mixins._LoopBoundMixin, "_get_loop", self._get_loop)  # noqa: SLF001
        for kind in (*_BOUND, getattr(asyncio, "Barrier", asyncio.Lock)):
            self._replace(kind, "__init__", self._init)
        self._replace(asyncio.runners, "_cancel_all_tasks", self._cancel_all_tasks)
        for kind in (asyncio.StreamWriter, vars(asyncio.selector_events)["_SelectorTransport"]):
            self._replace(kind, "__init__", self._opened)
            if hasattr(kind, "__del__"):  # a stream has had one since 3.11.5
                self._replace(kind, "__del__", self._collected)
        base = asyncio.base_events.BaseEventLoop
        self._replace(base, "_asyncgen_firstiter_hook", self._first_iteration)
        self._replace(base, "_asyncgen_finalizer_hook", self._finalizer)
        self._listen_at(base)
        self.find_loops()

    def find_loops(self) -> None:
        """Listen at uvloop too, once it has been imported."""
        uvloop = sys.modules.get("uvloop")
        if uvloop is not None and self._replaced and uvloop.Loop not in self._loops:
            self._listen_at(uvloop.Loop)

    def remove(self) -> None:
        """Take all replacements back."""
        for owner, name, original in reversed(self._replaced):
            if original is None:
                delattr(owner, name)
            else:
                setattr(owner, name, original)
        self._replaced.clear()
        self._loops.clear()

    def _listen_at(self, kind: type) -> None:
        self._loops.add(kind)
        self._replace(kind, "run_forever", self._run_forever)
        self._replace(kind, "create_task", self._create)
        self._replace(kind, "create_future", self._create)

    def _replace(self, owner: Any, name: str, wrap: Callable[[Any], Any]) -> None:
        """Replace a function; one that the owner merely inherits is deleted again at the end."""
        original = getattr(owner, name)
        self._replaced.append((owner, name, vars(owner).get(name)))
        setattr(owner, name, functools.wraps(original)(wrap(original)))

    def _get_loop(self, original: Any) -> Any:
        ledger = self._ledger

        def get_loop(thing: Any) -> Any:
            if thing._loop is None:  # noqa: SLF001  (the mixin's own mark)
                loop = original(thing)
                ledger.bound(thing, 2)
                return loop
            try:
                return original(thing)
            except RuntimeError:
                if not ledger.looks_for("conflict"):
                    raise
                error = ledger.conflict(thing, 2)
                ledger.tell(error, str(error))  # in a task that nobody awaits it would be lost
                raise error from None

        return get_loop

    def _init(self, original: Any) -> Any:
        ledger = self._ledger

        def init(thing: Any, *args: Any, **kwargs: Any) -> None:
            ledger.made(thing, 2)
            original(thing, *args, **kwargs)

        return init

    def _run_forever(self, original: Any) -> Any:
        def run_forever(loop: Any) -> Any:
            self._ledger.ran(loop)
            self._entered(loop)
            try:
                return original(loop)
            finally:
                self._left(loop)

        return run_forever

    def _create(self, original: Any) -> Any:
        ledger = self._ledger

        def create(loop: Any, *args: Any, **kwargs: Any) -> Any:
            made = original(loop, *args, **kwargs)
            if ledger.strictness.checks:
                ledger.note(made, 2)
            return made

        return create

    def _opened(self, original: Any) -> Any:
        ledger = self._ledger

        def opened(thing: Any, *args: Any, **kwargs: Any) -> None:
            original(thing, *args, **kwargs)
            if ledger.looks_for("connections"):
                ledger.note(thing, 2)

        return opened

    def _collected(self, original: Any) -> Any:
        def collected(thing: Any) -> None:
            origin = origin_of(thing)
            if origin is not None and origin.site is not UNKNOWN and _is_open(thing):
                self._disconnected(thing, origin)
            original(thing)

        return collected

    def _cancel_all_tasks(self, original: Any) -> Any:
        def cancel_all_tasks(loop: asyncio.AbstractEventLoop) -> None:
            if not _is_program(sys._getframe(1)):  # noqa: SLF001
                self._closing(loop)
            original(loop)

        return cancel_all_tasks

    def _first_iteration(self, original: Any) -> Any:
        ledger = self._ledger

        def first_iteration(loop: Any, generator: Any) -> None:
            original(loop, generator)
            if ledger.strictness.checks and kind_of(generator.ag_code.co_filename) == PROJECT:
                site = locate(sys._getframe(1))  # noqa: SLF001
                ledger.generators[id(generator)] = Origin(site, ledger.owner, ledger.test)

        return first_iteration

    def _finalizer(self, original: Any) -> Any:
        ledger = self._ledger

        def finalizer(loop: Any, generator: Any) -> None:
            origin = ledger.generators.pop(id(generator), None)
            if generator.ag_frame is not None:
                self._dropped(generator, origin)
            original(loop, generator)

        return finalizer


def _is_open(thing: Any) -> bool:
    """Say whether a stream or transport still is open; one that was never finished has nothing to close."""
    transport: asyncio.BaseTransport = thing.transport if isinstance(thing, asyncio.StreamWriter) else thing
    return not transport.is_closing()


def _is_program(frame: Any) -> bool:
    """Say whether a runner is closed by `asyncio.run` or its like, whose promise is to cancel what is left."""
    while frame is not None:
        code = frame.f_code
        if code.co_name == "run" and code.co_filename.endswith(
            ("asyncio/runners.py", "anyio/_backends/_asyncio.py", "uvloop/__init__.py")
        ):
            return True
        frame = frame.f_back
    return False
