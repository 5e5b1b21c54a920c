"""Records commits of SQLAlchemy sessions: which were real, and what ran after each."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import FrameType
from typing import Any
from weakref import WeakKeyDictionary

from sqlalchemy import Connection, Engine, event
from sqlalchemy.orm import Session, SessionTransaction

from cos.testing.commit_errors import HookNotRun, HookTooEarly, NoSuchHook
from cos.testing.sites import PROJECT, Site, kind_of, locate
from cos.testing.spy import Spy, find

REAL, SAVEPOINT, JOINED, EMPTY = "real", "savepoint", "joined", "empty"
_WHAT = {
    REAL: "really committed",
    SAVEPOINT: "only released a savepoint",
    JOINED: "only joined a transaction that it does not end",
    EMPTY: "committed without having spoken to the database",
}
_MOST = 10_000


@dataclass(slots=True)
class Commit:
    """One commit of one session.

    Attributes:
        kind: `real` (the database has it), `savepoint` (released one of the session's own), `joined` (the session is
            bound to a connection whose transaction somebody else ends) or `empty` (no statement was sent).
        site: where it was asked for.
        mode: of a joined one the session's `join_transaction_mode`.
        ran: what ran after it: listeners of `after_commit`, work of `cos.common.after_commit`, expected hooks.
    """

    kind: str
    site: Site
    mode: str = ""
    ran: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        """Write it as a line."""
        mode = f" (join_transaction_mode={self.mode})" if self.mode else ""
        ran = f"; after it ran {', '.join(self.ran)}" if self.ran else ""
        return f"{self.kind}{mode} at {self.site}{ran}"


@dataclass(slots=True)
class Hook:
    """Something that is expected to run after a commit; `calls` has the arguments and the commit before each call."""

    name: str
    calls: list[tuple[tuple[Any, ...], dict[str, Any], Commit | None]] = field(default_factory=list)


class Commits:
    """The commits of a test, in their order: a sequence, and by kind."""

    def __init__(self) -> None:
        self._all: list[Commit] = []
        self._connections: WeakKeyDictionary[SessionTransaction, list[Connection]] = WeakKeyDictionary()
        self._ended: set[int] = set()
        self._hooks: list[tuple[Hook, Spy]] = []
        self._listening: list[tuple[Any, str, Callable[..., None]]] = []
        self._work: Callable[..., None] | None = None

    def __iter__(self) -> Iterator[Commit]:
        """Give each commit, the first one first."""
        return iter(list(self._all))

    def __len__(self) -> int:
        """Count them."""
        return len(self._all)

    def __getitem__(self, at: int) -> Commit:
        """Give one by its number."""
        return self._all[at]

    @property
    def real(self) -> list[Commit]:
        """Those that the database has."""
        return self._of(REAL)

    @property
    def savepoints(self) -> list[Commit]:
        """Those that released a savepoint of the session's own."""
        return self._of(SAVEPOINT)

    @property
    def joined(self) -> list[Commit]:
        """Those that left the end of the transaction to somebody else."""
        return self._of(JOINED)

    @property
    def empty(self) -> list[Commit]:
        """Those before which no statement was sent."""
        return self._of(EMPTY)

    def _of(self, kind: str) -> list[Commit]:
        return [one for one in self._all if one.kind == kind]

    def clear(self) -> None:
        """Forget what was committed until now."""
        self._all.clear()

    def expect_hook(self, hook: Callable[..., Any] | str) -> Hook:
        """Let the test fail, with the reason, unless this runs after a real commit before the test ends.

        Args:
            hook: the function, a bound method, or `package.module:name`; it is called as ever.

        Raises:
            NoSuchHook: there is no such function, or it is expected already.
        """
        function = find(hook)
        if any(spy.function is function for _, spy in self._hooks):
            raise NoSuchHook(f"The hook {function.__qualname__} is expected already: ask once for each.")
        found = Hook(f"{function.__module__}.{function.__qualname__}")

        def called(args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            last = self._all[-1] if self._all else None
            found.calls.append((args, kwargs, last))
            self._note(found.name)

        self._hooks.append((found, Spy(function, called)))
        return found

    def judge(self) -> None:
        """Look whether each expected hook ran after a real commit.

        Raises:
            HookNotRun: it never ran; the sentence says why.
            HookTooEarly: it ran, but the transaction could still be rolled back.
        """
        __tracebackhide__ = True
        for hook, _ in self._hooks:
            if not hook.calls:
                raise HookNotRun(
                    f"{hook.name} was expected to run after a commit and did not: {self._reason()}"
                )
            befores = [before for _, _, before in hook.calls]
            if not any(before is not None and before.kind == REAL for before in befores):
                before = befores[-1]
                what = (
                    f"the session had {_WHAT[before.kind]} at {before.site}"
                    if before
                    else "nothing was committed"
                )
                raise HookTooEarly(
                    f"{hook.name} ran when {what}: the transaction could still be rolled back. SQLAlchemy's "
                    "after_commit also fires for savepoints and joined transactions; wait for the outermost commit."
                )

    def told(self) -> str:
        """Tell all commits, a line each."""
        if not self._all:
            return "commits: no session committed"
        return "\n".join(["commits:", *(f"    {number}. {one}" for number, one in enumerate(self._all, 1))])

    def _reason(self) -> str:
        if not self._all:
            return "no session committed at all."
        if self.real:
            return f"the session really committed at {self.real[-1].site}, but nothing called it."
        last = self._all[-1]
        advice = ""
        if self.joined:
            last = self.joined[-1]
            advice = (
                f" (join_transaction_mode={last.mode}), so its hooks have nothing to wait for: let this test commit "
                "really instead of rolling back"
            )
        return f"no commit was real; the session {_WHAT[last.kind]} at {last.site}{advice}."

    # ---- listening

    def begin(self) -> None:
        """Listen at every session and engine; before all other listeners, so that a commit stands before its hooks."""
        for target, name, listener in (
            (Session, "after_begin", self._after_begin),
            (Session, "after_commit", self._after_commit),
            (Engine, "commit", self._on_commit),
            (Engine, "commit_twophase", self._on_twophase),
        ):
            event.listen(target, name, listener, insert=True)
            self._listening.append((target, name, listener))
        work: Any = sys.modules.get("cos.common.after_commit")
        if work is not None:
            self._work = run = work._run  # noqa: SLF001  (our own, and the one place that runs work)

            @functools.wraps(run)
            def noted(piece: Callable[[], None]) -> None:
                self._note(_name(piece))
                run(piece)

            work._run = noted  # noqa: SLF001

    def end(self) -> None:
        """Listen no more."""
        for target, name, listener in self._listening:
            event.remove(target, name, listener)
        self._listening.clear()
        if self._work is not None:
            sys.modules["cos.common.after_commit"]._run = self._work  # type: ignore[attr-defined]  # noqa: SLF001
            self._work = None
        for _, spy in self._hooks:
            spy.end()

    def _after_begin(
        self, _session: Session, transaction: SessionTransaction, connection: Connection
    ) -> None:
        self._connections.setdefault(transaction, []).append(connection)
        self._ended.discard(id(connection))

    def _on_commit(self, connection: Connection) -> None:
        # An engine that joined a test which is rolled back (see join.py) releases a savepoint here.
        if not getattr(connection.engine.pool, "cos_rolled_back", False):
            self._ended.add(id(connection))

    def _on_twophase(self, connection: Connection, _xid: Any, _is_prepared: bool) -> None:
        self._ended.add(id(connection))

    def _after_commit(self, session: Session) -> None:
        transaction = session.get_nested_transaction() or session.get_transaction()
        if transaction is None or len(self._all) >= _MOST:
            return
        connections = self._connections.get(transaction, [])
        mode = ""
        if transaction.nested:
            kind = SAVEPOINT
        elif not connections:
            kind = EMPTY
        elif any(id(one) in self._ended for one in connections):
            kind = REAL
        else:
            kind, mode = JOINED, str(session.join_transaction_mode)
        commit = Commit(kind, _site(sys._getframe(1)), mode)  # noqa: SLF001
        commit.ran += [
            name
            for one in session.dispatch.after_commit
            if not (name := _name(one)).startswith(("cos.testing.", "cos.common.after_commit."))
        ]
        self._all.append(commit)

    def _note(self, name: str) -> None:
        if self._all and name not in self._all[-1].ran:
            self._all[-1].ran.append(name)


def _site(frame: FrameType | None) -> Site:
    """Find who asked for the commit; behind an async session that is in the greenlet which waits for this one."""
    found = locate(frame)
    greenlet = sys.modules.get("greenlet")  # whoever uses an async session has it
    current = greenlet.getcurrent() if greenlet else None
    while kind_of(found.file) != PROJECT and current is not None and current.parent is not None:
        current = current.parent
        outer = locate(current.gr_frame)
        found = outer if kind_of(outer.file) == PROJECT else found
    return found


def _name(function: Any) -> str:
    while isinstance(function, functools.partial):
        function = function.func
    function = getattr(function, "__wrapped__", function)
    return f"{getattr(function, '__module__', '')}.{getattr(function, '__qualname__', repr(function))}"
