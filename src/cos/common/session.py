"""The session that COS gives to its requests: SQLAlchemy's own, with an end that costs nothing after a commit."""

from __future__ import annotations

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
