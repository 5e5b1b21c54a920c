"""Work after the outermost commit; `log_l1`'s tests show the rest of it over a real transaction."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from cos.common.after_commit import after_commit


@pytest.fixture
def done() -> list[str]:
    return []


class TestAfterCommit:
    async def test_in_the_order_in_which_it_was_asked_for(self, core, done) -> None:
        """Also where an inner savepoint asked in between."""
        async with core.sessions() as db:
            after_commit(db.sync_session, lambda: done.append("first"))
            async with db.begin_nested():
                after_commit(db.sync_session, lambda: done.append("second"))
            after_commit(db.sync_session, lambda: done.append("third"))
            await db.commit()
        assert done == ["first", "second", "third"]

    async def test_one_that_fails_stops_none_of_the_others(self, core, done) -> None:
        async with core.sessions() as db:
            after_commit(db.sync_session, lambda: 1 // 0)
            after_commit(db.sync_session, lambda: done.append("second"))
            await db.commit()
        assert done == ["second"]

    async def test_a_commit_that_postgres_refuses_runs_nothing(self, core, done) -> None:
        """A constraint that is checked at the end fails the commit itself."""
        async with core.sessions() as db:
            await db.execute(
                text("CREATE TEMP TABLE late (n int UNIQUE DEFERRABLE INITIALLY DEFERRED) ON COMMIT DROP")
            )
            await db.execute(text("INSERT INTO late VALUES (1), (1)"))
            after_commit(db.sync_session, lambda: done.append("never"))
            with pytest.raises(DBAPIError, match="late_n_key"):
                await db.commit()
            await db.rollback()
            after_commit(db.sync_session, lambda: done.append("later"))
            await db.commit()
        assert done == ["later"]

    async def test_a_connection_that_is_lost_before_the_commit_runs_nothing(self, core, pg, done) -> None:
        async with core.sessions() as db:
            pid = (await db.execute(text("SELECT pg_backend_pid()"))).scalar_one()
            after_commit(db.sync_session, lambda: done.append("never"))
            await pg.execute("SELECT pg_terminate_backend($1, 5000)", pid)
            with pytest.raises(DBAPIError):
                await db.execute(text("SELECT 1"))
            await db.rollback()
        assert done == []

    async def test_a_cancelled_task_runs_nothing(self, core, done) -> None:
        began = asyncio.Event()

        async def work() -> None:
            async with core.sessions() as db, db.begin():
                after_commit(db.sync_session, lambda: done.append("never"))
                began.set()
                await db.execute(text("SELECT pg_sleep(600)"))

        task = asyncio.create_task(work())
        await began.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert done == []

    async def test_sessions_do_not_share_their_work(self, core, done) -> None:
        async with core.sessions() as first, core.sessions() as second:
            after_commit(first.sync_session, lambda: done.append("first"))
            after_commit(second.sync_session, lambda: done.append("second"))
            await second.commit()
            assert done == ["second"]
            await first.rollback()
        assert done == ["second"]
