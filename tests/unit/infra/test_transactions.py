"""Raising the transaction ids of a cluster: by steps that Postgres can follow, to a place that nobody has been."""

from __future__ import annotations

import asyncpg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cos.errors import ServerFailed
from cos.infra.folder import DataFolder
from cos.infra.postgres import EmbeddedPostgres
from cos.infra.transactions import LONGEST_STEP, MARGIN, SEGMENT, set_next, steps_to

IDS = st.integers(min_value=3, max_value=2**40)


class TestSteps:
    """Which ids are set, one after the other."""

    @settings(deadline=None)
    @given(current=IDS, beyond=IDS)
    def test_they_lead_above_in_steps_that_can_be_told_apart(self, current, beyond) -> None:
        """The last is above all that was known with room to spare; none is further than ids can be compared."""
        steps = steps_to(current, beyond)
        if not steps:
            assert current > beyond + MARGIN
            return
        assert beyond + MARGIN <= steps[-1] <= beyond + MARGIN + 2 * SEGMENT
        for before, after in zip([current, *steps], steps, strict=False):
            assert before < after <= before + LONGEST_STEP + 2 * SEGMENT
            assert after % SEGMENT == 0
            assert after % 2**32  # the ids 0 to 2 of a round are not given out

    def test_nothing_to_do(self) -> None:
        assert steps_to(MARGIN + 1001, 1000) == []
        assert steps_to(1001, 1000) == [MARGIN + SEGMENT]


class TestSetNext:
    """A real cluster that was shut down."""

    async def test_it_goes_on_there(self, tmp_path) -> None:
        """Old rows are read, new ones have the new ids, and it survives a crash right after."""
        folder = DataFolder.open(tmp_path / "data")
        postgres = EmbeddedPostgres(folder=folder, fsync=False)
        await postgres.start()
        connection = await asyncpg.connect(postgres.url)
        await connection.execute("CREATE TABLE t (n int); INSERT INTO t VALUES (1)")
        await connection.close()
        await postgres.stop()
        await set_next(folder.postgres, 3 * LONGEST_STEP // 4 // SEGMENT * SEGMENT)
        await postgres.start()
        try:
            connection = await asyncpg.connect(postgres.url)
            found = await connection.fetchval("SELECT pg_current_xact_id()::text::bigint")
            assert 3 * LONGEST_STEP // 4 <= found < LONGEST_STEP
            await connection.execute("INSERT INTO t VALUES (2)")
            assert [row[0] for row in await connection.fetch("SELECT n FROM t ORDER BY n")] == [1, 2]
            await connection.close()
        finally:
            await postgres.stop()

    async def test_no_cluster(self, tmp_path) -> None:
        with pytest.raises(ServerFailed, match="could not be set"):
            await set_next(tmp_path, SEGMENT)
