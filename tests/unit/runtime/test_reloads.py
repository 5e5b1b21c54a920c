"""Reloads as events: each once, in order, however often Postgres is away."""

from __future__ import annotations

from collections import deque
from contextlib import asynccontextmanager
from typing import Any

import pytest

from cos.common import clock
from cos.runtime.reload import Reload
from cos.runtime.reloads import IDLE_SECONDS, Reloads


def reload(number: int) -> Reload:
    return Reload(at=clock.now(), by={"via": "SIGHUP", "user": None}, changed={"n": number})


@pytest.fixture
def waiting() -> deque[Reload]:
    return deque(maxlen=100)


@pytest.fixture
def reloads(core, waiting) -> Reloads:
    return Reloads(waiting=waiting, sessions=core.sessions, ring=core.doorbell.ring)


async def numbers(pg: Any) -> list[int]:
    statement = (
        "SELECT (data->'changed'->>'n')::int AS n FROM l1.record WHERE type = 'config.reloaded' ORDER BY seq"
    )
    return [row["n"] for row in await pg.fetch(statement)]


class TestTurn:
    async def test_records_all_that_waits_in_order(self, reloads, waiting, pg) -> None:
        waiting.extend(reload(number) for number in range(3))
        assert await reloads.turn() == IDLE_SECONDS
        assert await reloads.turn() == IDLE_SECONDS
        assert await numbers(pg) == [0, 1, 2]
        assert not waiting

    async def test_what_could_not_be_written_is_written_later_and_once(
        self, core, reloads, waiting, pg
    ) -> None:
        """Also where the commit went through and only its answer was lost."""
        lost: list[int] = []

        @asynccontextmanager
        async def losing() -> Any:
            async with core.sessions() as session:
                yield session
            lost.append(1)
            if len(lost) == 1:
                raise OSError("the answer was lost")

        reloads._sessions = losing
        waiting.extend([reload(1), reload(2)])
        with pytest.raises(OSError, match="lost"):
            await reloads.turn()
        assert len(waiting) == 2
        await reloads.turn()
        assert await numbers(pg) == [1, 2]

    async def test_a_refused_one_tells_why(self, reloads, waiting, pg) -> None:
        waiting.append(
            Reload(at=clock.now(), by={"via": "cos reload", "user": "ada"}, error="It is no number.")
        )
        await reloads.turn()
        row = await pg.fetchrow(
            "SELECT level, data::text FROM l1.record WHERE type = 'config.reload_refused'"
        )
        assert row["level"] == "error"
        assert "It is no number." in row["data"]
        assert "changed" not in row["data"]

    async def test_room_for_newer_ones_loses_only_the_oldest(self, core, waiting, pg) -> None:
        """While the oldest is being written it is pushed out: the next one is not taken for it."""
        short: deque[Reload] = deque([reload(1), reload(2)], maxlen=2)

        @asynccontextmanager
        async def pushing() -> Any:
            async with core.sessions() as session:
                yield session
            if short[0].changed == {"n": 1}:
                short.append(reload(3))

        await Reloads(waiting=short, sessions=pushing, ring=core.doorbell.ring).turn()
        assert await numbers(pg) == [1, 2, 3]


class TestClose:
    async def test_records_what_came_last(self, reloads, waiting, pg) -> None:
        waiting.append(reload(7))
        await reloads.close()
        assert await numbers(pg) == [7]

    async def test_is_harmless_when_postgres_is_away(self, reloads, waiting) -> None:
        def away() -> Any:
            raise ConnectionRefusedError

        reloads._sessions = away
        waiting.append(reload(1))
        await reloads.close()
        assert len(waiting) == 1
