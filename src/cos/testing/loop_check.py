"""Looks at each test: its errors get names, and what it leaves in a loop becomes an error of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from typing import Any

import pytest

from cos.errors import BadInput
from cos.testing.loop_errors import (
    ConnectionLeft,
    GeneratorLeft,
    LoopBlocked,
    LoopError,
    TaskLeft,
    one_of,
)
from cos.testing.loop_hooks import LoopHooks
from cos.testing.loop_ledger import Ledger, Origin, in_test, origin_of
from cos.testing.loop_naming import named
from cos.testing.loop_watch import Blocked, LoopWatch
from cos.testing.sites import PROJECT, Site, kind_of, owes_cleanup
from cos.testing.strictness import Strictness, milliseconds, strictness_of

_GRACE_S = 0.05
_RUNNERS = ("pytest_asyncio", "anyio")


class LoopCheck:
    """Looks at each test: its errors get names, and what it leaves in a loop becomes an error of its own."""

    def __init__(self, of_run: Strictness) -> None:
        self._of_run = of_run
        self.ledger = Ledger()
        self.watch = LoopWatch(tell=self._blocked)
        self.hooks = LoopHooks(
            ledger=self.ledger,
            entered=self.watch.entered,
            left=self.watch.left,
            closing=self._closing,
            dropped=self._dropped,
            disconnected=self._disconnected,
        )

    def _of_item(self, item: pytest.Item) -> Strictness:
        mark = item.get_closest_marker("loops")
        if mark is None:
            return self._of_run
        ours = self._of_run
        return strictness_of(
            mark.args or ("strict",),
            blocking_ms=milliseconds(mark.kwargs.get("blocking_ms", ours.blocking_ms)),
            ignore=(*ours.ignore, *mark.kwargs.get("ignore", ())),
        )

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> Generator[None, Any, Any]:
        """Turn to a test."""
        __tracebackhide__ = True
        try:
            strictness = self._of_item(item)
        except BadInput as error:
            pytest.fail(f"The mark loops of {item.nodeid}: {error}", pytrace=False)
        self.ledger.begin(item.nodeid, strictness)
        self.hooks.find_loops()
        self.watch.set_limit(strictness.blocking_ms / 1000 if self.ledger.looks_for("blocking") else 0.0)
        return (yield from self._naming())

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_call(self) -> Generator[None, Any, Any]:
        """Name what the test raises, and fail it for what was found while it ran."""
        __tracebackhide__ = True
        result = yield from self._naming()
        self._raise_found()
        return result

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_teardown(self) -> Generator[None, Any, Any]:
        """Look what the test left, after all of its fixtures."""
        __tracebackhide__ = True
        try:
            result = yield from self._naming()
            for loop in list(self.ledger.loops):
                if not loop.is_closed() and not loop.is_running():
                    self._look_in(loop, closing=False)
            self._raise_found()
            return result
        finally:
            self.ledger.end()

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: pytest.FixtureDef[Any]) -> Generator[None, Any, Any]:
        """What a fixture makes that outlives the test is not the test's."""
        if fixturedef.scope == "function":
            return (yield)
        before, self.ledger.owner = self.ledger.owner, f"the {fixturedef.scope} fixture {fixturedef.argname}"
        try:
            return (yield)
        finally:
            self.ledger.owner = before

    def pytest_enter_pdb(self) -> None:
        """A person who reads is no blocking call."""
        self.watch.set_limit(0.0)

    def _naming(self) -> Generator[None, Any, Any]:
        __tracebackhide__ = True
        try:
            return (yield)
        except Exception as error:  # names what it knows; anything else goes on as it is
            better = named(error, self.ledger)
            if isinstance(error, LoopError):
                self.ledger.found = [one for one in self.ledger.found if one is not error]
            if better is None:
                raise
            self.ledger.found.clear()  # what follows from it is not news
            if better.__traceback__ is None:
                better = better.with_traceback(error.__traceback__)
            raise better from None

    def _raise_found(self) -> None:
        __tracebackhide__ = True
        found = list(self.ledger.found)
        self.ledger.found.clear()
        if found:
            raise one_of(found)

    def _blocked(self, blocked: Blocked) -> None:
        ledger = self.ledger
        if not ledger.looks_for("blocking"):
            return
        stack = blocked.stack
        places = "\n".join(f"    {site}" for site in stack)
        common = stack[: blocked.common] or stack
        inner = next((site for site in reversed(common) if kind_of(site.file) == PROJECT), stack[-1])
        ledger.tell(
            LoopBlocked(
                f"{inner} kept the event loop for {1000 * blocked.seconds:.0f} ms (at most "
                f"{ledger.strictness.blocking_ms:g} are allowed): await it, or give it to a thread with "
                f"asyncio.to_thread. It was in\n{places}"
            ),
            places,
        )

    def _closing(self, loop: asyncio.AbstractEventLoop) -> None:
        if self.ledger.strictness.checks:
            self._look_in(loop, closing=True)

    def _look_in(self, loop: asyncio.AbstractEventLoop, *, closing: bool) -> None:
        ledger = self.ledger
        if ledger.looks_for("tasks"):
            left = [task for task in asyncio.all_tasks(loop) if self._is_left(task, closing)]
            if left:
                self._tell_tasks(loop, left, closing=closing)
        if ledger.looks_for("generators"):
            for generator in list(getattr(loop, "_asyncgens", ())):
                origin = ledger.generators.get(id(generator))
                owned = origin is not None and (closing or origin.owner == ledger.test)
                if owned and not generator.ag_running and _owes(generator):
                    self._tell_generator(generator, origin, "was left before its end")

    def _is_left(self, task: asyncio.Task[Any], closing: bool) -> bool:
        if task.done() or getattr(task, "_cos_told", False):
            return False
        code = getattr(task.get_coro(), "cr_code", None)
        if code is not None and any(f"/{runner}/" in code.co_filename for runner in _RUNNERS):
            return False
        origin = origin_of(task)
        return closing or (origin is not None and origin.owner == self.ledger.test)

    def _tell_tasks(
        self, loop: asyncio.AbstractEventLoop, tasks: list[asyncio.Task[Any]], *, closing: bool
    ) -> None:
        """Give tasks that are about to end a moment; tell of the others, and let them be: they may be needed."""
        loop.run_until_complete(asyncio.wait(tasks, timeout=_GRACE_S))
        left = [task for task in tasks if not task.done()]
        for task in left:
            origin = origin_of(task)
            stack = task.get_stack(limit=1)
            waits = ""
            if stack:
                code = stack[-1].f_code
                waits = f" and waits at {Site(code.co_filename, stack[-1].f_lineno, code.co_name)}"
            made = (
                f" was made at {origin.site} by {origin.owner or 'nobody known'}" if origin else " was left"
            )
            name = getattr(task.get_coro(), "__qualname__", "?")
            task._cos_told = True  # type: ignore[attr-defined]  # noqa: SLF001  (our own mark)
            self.ledger.tell(
                TaskLeft(
                    f"The task {task.get_name()} ({name}){made}{waits}: cancel and await it before the "
                    f"{'loop closes' if closing else 'test ends'}."
                ),
                f"{name} {made} {waits}",
            )

    def _dropped(self, generator: Any, origin: Origin | None) -> None:
        ours = origin is not None and origin.test == self.ledger.test
        if ours and self.ledger.looks_for("generators") and _owes(generator):
            self._tell_generator(generator, origin, "was dropped before its end")

    def _disconnected(self, thing: Any, origin: Origin) -> None:
        """Tell of it whosever it is: the collector comes in any test, mostly in a later one, or between two."""
        peer = thing.get_extra_info("peername") or thing.get_extra_info("sockname")
        to = f" with {peer}" if peer else ""
        self.ledger.tell_late(
            ConnectionLeft(
                f"The connection{to} that was made at {origin.site} by {origin.owner or 'nobody known'} was left open "
                "to the garbage collector: close it where it is no longer needed."
            ),
            f"connection {origin.site}",
        )

    def _tell_generator(self, generator: Any, origin: Origin | None, what: str) -> None:
        code = generator.ag_code
        begun = f" It was begun at {origin.site}, {in_test(origin.test)}." if origin else ""
        at = Site(code.co_filename, generator.ag_frame.f_lineno, code.co_name)
        self.ledger.tell(
            GeneratorLeft(
                f"The async generator {generator.__qualname__} {what} and stands at {at}: its clean-up runs later and "
                f"elsewhere, or never; close it with `async with contextlib.aclosing(…)`.{begun}"
            ),
            str(at),
        )


def _owes(generator: Any) -> bool:
    """Say whether a generator is to clean up; one that just stops to count is left without harm."""
    return generator.ag_frame is not None and owes_cleanup(generator.ag_frame)
