"""What a running COS tells of itself in its run file, and what `cos status` makes of it."""

from __future__ import annotations

import pytest

from cos.backend.app import create_app, with_edge
from cos.config import load_settings
from cos.infra.folder import DataFolder
from cos.runtime.server import ApiServer, bind
from cos.runtime.status import status
from cos.runtime.up import RunFile


@pytest.fixture
async def run_file(core, servers, tmp_path):
    api = ApiServer(app=with_edge(create_app(core.services())), listener=bind(0), stop_timeout_seconds=1)
    await api.start()
    folder = DataFolder.open(tmp_path)
    yield RunFile(folder=folder, servers=servers, api=api, core=core, started_at="2025-01-01T00:00:00Z")
    await api.stop()


class TestStatus:
    async def test_all_is_well(self, run_file, core, tmp_path) -> None:
        await core.monitor.measure()
        await run_file.turn()
        found = await status(load_settings(data_dir=tmp_path))
        assert (found["health"], found["causes"]) == ("ok", [])

    async def test_it_agrees_with_what_the_process_measured(self, run_file, core, pg, tmp_path) -> None:
        """A part that nobody can measure from outside is not forgotten there."""
        await pg.execute(
            "INSERT INTO highway.projection"
            " (name, slot, version, state, xact, seq, error, definition, created_at, moved_at)"
            " VALUES ('words', 'live', 1, 'failed', '0', 0, 'no such chapter', '{}', now(), now())"
        )
        report = await core.monitor.measure()
        await run_file.turn()
        found = await status(load_settings(data_dir=tmp_path))
        assert found["health"] == report.state.value == "degraded"
        assert found["causes"] == ["The projection words has stopped (no such chapter)."]
