"""The session's end: whatever was open is given back, and nothing waits where nothing is open."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine, async_sessionmaker

from cos.common import db as postgres
from cos.common.session import Session


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
