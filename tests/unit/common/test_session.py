"""The session's end: whatever was open is given back, and nothing waits where nothing is open."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import column, delete, insert, select, table, text, update
from sqlalchemy.ext.asyncio import AsyncEngine, async_sessionmaker

from cos.common import db as postgres
from cos.common.session import Session, reading


@pytest.fixture
async def engine(core):
    """Give one that nobody else uses."""
    made = postgres.create_engine(core.database_url, pool_size=2)
    yield made
    await made.dispose()


@pytest.fixture
def sessions(engine: AsyncEngine) -> async_sessionmaker[Session]:
    return async_sessionmaker(engine, class_=Session)


class TestEnd:
    async def test_after_a_commit_nothing_is_waited_for(self, sessions, engine) -> None:
        tasks: set[asyncio.Task] = set()
        async with sessions() as db:
            await db.execute(text("SELECT 1"))
            await db.commit()
            leaving = db.__aexit__(None, None, None)
            tasks = asyncio.all_tasks()
            with pytest.raises(StopIteration):  # it ends in its first step
                leaving.send(None)
            assert asyncio.all_tasks() == tasks
        assert engine.pool.checkedout() == 0

    async def test_what_was_not_committed_is_rolled_back(self, sessions, engine, pg) -> None:
        async with sessions() as db:
            await db.execute(text("CREATE TABLE left_over (n int)"))
        assert engine.pool.checkedout() == 0
        assert await pg.fetchval("SELECT to_regclass('left_over')") is None

    async def test_who_is_cancelled_inside_gives_its_connection_back(self, sessions, engine) -> None:
        inside = asyncio.Event()

        async def wait() -> None:
            async with sessions() as db:
                await db.execute(text("SELECT 1"))
                inside.set()
                await asyncio.Event().wait()

        task = asyncio.create_task(wait())
        await inside.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert engine.pool.checkedout() == 0

    async def test_it_can_be_used_again(self, sessions) -> None:
        db = sessions()
        for _ in range(2):
            async with db:
                assert await db.scalar(text("SELECT 1")) == 1
                await db.commit()


KEPT = table("kept", column("n"))


class TestReading:
    @pytest.fixture
    def reads(self, engine: AsyncEngine) -> AsyncEngine:
        return reading(engine)

    async def test_each_statement_is_a_transaction_of_its_own(self, reads, sessions) -> None:
        number = text("SELECT pg_current_xact_id()::text")
        for opened, transactions in ((reads.connect(), 2), (sessions(), 1)):
            async with opened as db:
                assert len({(await db.execute(number)).scalar_one() for _ in range(2)}) == transactions

    async def test_its_connection_is_whole_again_for_who_writes(self, engine, reads, sessions, pg) -> None:
        """A transaction over the connection that read before is one, and can be rolled back."""
        async with reads.connect() as db:
            mine = (await db.execute(text("SELECT pg_backend_pid()"))).scalar_one()
        async with sessions() as db:
            assert (await db.execute(text("SELECT pg_backend_pid()"))).scalar_one() == mine
            await db.execute(text("CREATE TABLE left_over (n int)"))
            await db.rollback()
        assert await pg.fetchval("SELECT to_regclass('left_over')") is None
        assert engine.pool.checkedout() == 0

    @pytest.mark.parametrize(
        "statement",
        [insert(KEPT).values(n=9), update(KEPT).values(n=9), delete(KEPT)],
        ids=["insert", "update", "delete"],
    )
    async def test_what_writes_is_refused(self, reads, pg, statement) -> None:
        await pg.execute("CREATE TABLE kept AS SELECT 1 AS n")
        try:
            async with reads.connect() as db:
                with pytest.raises(RuntimeError, match="only reads"):
                    await db.execute(statement)
                assert (await db.execute(select(KEPT.c.n))).scalars().all() == [1]
        finally:
            await pg.execute("DROP TABLE kept")
