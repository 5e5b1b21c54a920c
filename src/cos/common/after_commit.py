"""Work that runs after the outermost commit of a session, and never after a rollback.

SQLAlchemy's own `after_commit` event also fires when a savepoint is released, and `session.info` outlives a rollback.
So each piece of work belongs to the transaction (or savepoint) in which it was asked for:

- a savepoint that is released hands its work to the transaction around it;
- a transaction or savepoint that is rolled back, or closed without a commit, drops its work;
- the outermost commit runs what is left, in the order in which it was asked for, each piece once.
"""

from __future__ import annotations

from collections.abc import Callable

import structlog
from sqlalchemy import event
from sqlalchemy.orm import Session, SessionTransaction

_log = structlog.get_logger("cos.after_commit")

_KEY = "cos.after_commit"

_Work = Callable[[], None]


class _Ledger:
    """The work that one session owes, by the transaction that it belongs to."""

    def __init__(self) -> None:
        self.owed: list[tuple[SessionTransaction, _Work]] = []
        self.committed: SessionTransaction | None = None


def after_commit(session: Session, work: _Work) -> None:
    """Run `work` once the session's outermost transaction has committed.

    Args:
        session: the (sync) session; of an `AsyncSession` it is `.sync_session`.
        work: called without arguments, in the thread of the commit, after it; an exception from it is logged and
            never reaches the one who committed, because the commit has already happened.
    """
    ledger: _Ledger | None = session.info.get(_KEY)
    if ledger is None:
        ledger = session.info[_KEY] = _Ledger()
    transaction = session.get_nested_transaction() or session.get_transaction()
    if transaction is None:
        transaction = session.begin()
    ledger.owed.append((transaction, work))


def _on_commit(session: Session) -> None:
    """Note whose commit this was; the event fires for a released savepoint too, while that is the innermost one."""
    ledger: _Ledger | None = session.info.get(_KEY)
    if ledger is not None:
        ledger.committed = session.get_nested_transaction() or session.get_transaction()


def _on_end(session: Session, ended: SessionTransaction) -> None:
    ledger: _Ledger | None = session.info.get(_KEY)
    if ledger is None or (ended.parent is not None and not ended.nested):
        return  # nothing was asked for; or a flush's inner transaction: nothing is ever asked for in it
    was_committed, ledger.committed = ledger.committed is ended, None
    mine = [work for owner, work in ledger.owed if owner is ended]
    if ended.parent is not None and was_committed:
        ledger.owed = [(ended.parent if owner is ended else owner, work) for owner, work in ledger.owed]
        return
    ledger.owed = [(owner, work) for owner, work in ledger.owed if owner is not ended]
    if was_committed:
        for work in mine:
            _run(work)


def _run(work: _Work) -> None:
    try:
        work()
    except Exception:  # noqa: BLE001  (the transaction is durable already)
        # A failure here must not look like a failed commit.
        _log.exception("after_commit_work_failed")


# Once for all sessions: to listen at each session would cost every transaction more than its hooks do.
event.listen(Session, "after_commit", _on_commit)
event.listen(Session, "after_transaction_end", _on_end)
