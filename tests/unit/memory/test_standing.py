"""The readers' part of health: a stopped projection is a cause in words, dead letters are counted."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator

import asyncpg
import pytest

from cos.common.health import State
from cos.memory.standing import Standing

PROJECTION = """
    INSERT INTO highway.projection (name, slot, version, state, xact, seq, definition, error, created_at, moved_at)
    VALUES ($1, 'live', 1, $2, '1'::xid8, 1, '{}', $3, now(), now())
"""
LETTER = """
    INSERT INTO highway.dead_letter (id, group_name, generation, module, xact, seq, event, error, traceback, attempts,
        state, first_failed_at, last_failed_at)
    VALUES ($1, 'g', 1, 'm', '1'::xid8, $2, '{}', 'e', '', 1, $3, now(), now())
"""


@pytest.fixture(autouse=True)
async def nothing_left(servers) -> AsyncIterator[None]:
    """COS is degraded as long as a projection has stopped: none is left behind."""
    yield
    connection = await asyncpg.connect(servers.postgres.url)
    await connection.execute("TRUNCATE highway.projection, highway.dead_letter")
    await connection.close()


class TestStanding:
    async def test_what_runs_is_ok_and_counted(self, core, pg: asyncpg.Connection) -> None:
        """Letters that are on their way, and projections that run or are paused, are no fault."""
        await pg.execute(PROJECTION, "titles", "running", None)
        await pg.execute(PROJECTION, "words", "paused", None)
        for number, state in enumerate(["dead", "dead", "queued", "delivered"]):
            await pg.execute(LETTER, uuid.UUID(int=number + 1), number, state)
        [part] = await Standing(sessions=core.sessions).measure()
        assert (part.state, part.cause) == (State.OK, None)
        assert part.figures == {"groups": 0, "projections": 2, "dead_letters": 2}

    async def test_a_stopped_projection_is_named_with_its_error(self, core, pg: asyncpg.Connection) -> None:
        await pg.execute(PROJECTION, "titles", "failed", "ValueError: no title")
        [part] = await Standing(sessions=core.sessions).measure()
        report = await core.monitor.measure()
        assert part.state is State.DEGRADED
        assert part.cause == "The projection titles has stopped (ValueError: no title)."
        assert report.state is State.DEGRADED
        assert part.cause in report.causes

    async def test_without_postgres_it_is_unknown(self, servers, core) -> None:
        """The cause is told once, by the part it belongs to."""
        await servers.postgres.stop()
        try:
            [part] = await Standing(sessions=core.sessions).measure()
        finally:
            await servers.postgres.start()
        assert (part.state, part.cause) == (State.UNKNOWN, None)
