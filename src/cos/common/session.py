"""The sessions that COS gives to its requests: one for a transaction, and one that only reads."""

from __future__ import annotations

from sqlalchemy import event, orm
from sqlalchemy.ext.asyncio import AsyncSession


class Session(AsyncSession):
    """An `AsyncSession` that is closed in a task of its own only where closing has something to wait for.

    After a commit or a rollback it holds no connection, and closing is bookkeeping; SQLAlchemy takes a task, a shield
    and a greenlet for it all the same, which is a tenth of a short transaction.
    """

    async def __aexit__(self, kind: object, value: object, traceback: object) -> None:
        """Close."""
        if self.in_transaction():
            await super().__aexit__(kind, value, traceback)
        else:
            self.sync_session.close()


class _ReadingSession(orm.Session):
    """What a `Reading` works with, and the place of its guard."""


class Reading(Session):
    """A session over an engine in autocommit: each statement stands alone, in one round trip instead of three.

    At READ COMMITTED, which is what COS uses, the statements of a transaction that only reads see no more in common
    than these do. What inserts, updates or deletes is refused: it would be committed before the request is done.
    """

    sync_session_class = _ReadingSession


@event.listens_for(_ReadingSession, "do_orm_execute")
def _refuse_writing(state: orm.ORMExecuteState) -> None:
    if state.is_insert or state.is_update or state.is_delete:
        raise RuntimeError("This session only reads; write with the session of a transaction.")
