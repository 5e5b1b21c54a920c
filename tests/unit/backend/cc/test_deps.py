"""The control centre's session: one request, one transaction."""

from __future__ import annotations

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from cos.backend.cc.deps import CcDb, get_cc_db
from cos.backend.cc.logging import log_l1
from cos.memory.tables import record
from cos.runtime.core import Core


async def test_get_cc_db_returns_session(core: Core) -> None:
    """The dependency gives a live session on the real Postgres, inside a transaction."""
    dependency = get_cc_db(core.services())
    session = await anext(dependency)
    assert isinstance(session, AsyncSession)
    assert session.in_transaction()
    assert (await session.execute(text("SELECT current_database()"))).scalar_one() == "cos"
    with pytest.raises(StopAsyncIteration):
        await anext(dependency)
    assert not session.in_transaction()


async def test_what_the_request_wrote_is_committed_when_it_ends(core: Core, pg) -> None:
    """Leaving the dependency commits; another connection sees the record."""
    dependency = get_cc_db(core.services())
    session = await anext(dependency)
    await log_l1(session, "deps.commit")
    assert await pg.fetchval("SELECT count(*) FROM l1.record") == 0
    with pytest.raises(StopAsyncIteration):
        await anext(dependency)
    assert await pg.fetchval("SELECT count(*) FROM l1.record") == 1


async def test_a_failed_request_leaves_nothing(core: Core, pg) -> None:
    """An exception thrown into the dependency rolls the transaction back and passes on."""
    dependency = get_cc_db(core.services())
    session = await anext(dependency)
    await log_l1(session, "deps.rollback")
    with pytest.raises(LookupError):
        await dependency.athrow(LookupError("the route failed"))
    assert not session.in_transaction()  # rolled back here, not when the rubbish is collected
    assert await pg.fetchval("SELECT count(*) FROM l1.record") == 0


async def test_the_commit_comes_before_the_answer(core: Core) -> None:
    """Who has the answer can read what was written: the session is committed before the response is sent."""
    app = FastAPI()
    app.state.services = core.services()
    seen_at_answer: list[int] = []

    @app.post("/write")
    async def write(db: CcDb) -> dict[str, str]:
        await log_l1(db, "deps.before-answer")
        return {"status": "written"}

    async def watched(scope, receive, send) -> None:
        async def look_then_send(message) -> None:
            if message["type"] == "http.response.start":
                async with core.sessions() as other:
                    count = await other.execute(select(func.count()).select_from(record))
                    seen_at_answer.append(count.scalar_one())
            await send(message)

        await app(scope, receive, look_then_send)

    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app=watched), base_url="http://127.0.0.1"
    ) as http:
        assert (await http.post("/write")).status_code == 200
    assert seen_at_answer == [1]
