"""The sessions that COS gives to its requests: one for a transaction; and what reads without one."""

from __future__ import annotations

from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession


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


#: What only reads takes either: the session of a transaction, or a connection that `reading` gives.
Readable = AsyncSession | AsyncConnection


def reading(engine: AsyncEngine) -> AsyncEngine:
    """Give an engine over the same connections whose every statement stands alone, and which refuses to write.

    A statement is one round trip instead of three. At READ COMMITTED, which is what COS uses, the statements of a
    transaction that only reads see no more in common than these do. What inserts, updates or deletes is refused: it
    would be committed before the request is done.
    """
    alone = engine.execution_options(isolation_level="AUTOCOMMIT")
    event.listen(alone.sync_engine, "before_execute", _refuse_writing)
    return alone


def _refuse_writing(_connection: object, statement: object, *_more: object) -> None:
    if getattr(statement, "is_dml", False):
        raise RuntimeError("This connection only reads; write with the session of a transaction.")
