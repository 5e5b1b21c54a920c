"""Setting up a cluster: whole or not at all, and only where there is none."""

from __future__ import annotations

import asyncio

import pytest

from cos.errors import OtherMajorVersion, ServerFailed
from cos.infra.account import choose_account
from cos.infra.binaries import find_postgres_bin
from cos.infra.cluster import cluster_exists, create_cluster


class TestExists:
    def test_nothing_and_an_empty_folder_are_no_cluster(self, tmp_path):
        assert not cluster_exists(tmp_path / "missing")
        assert not cluster_exists(tmp_path)

    def test_our_version_is_one(self, cluster_folder):
        assert cluster_exists(cluster_folder.postgres)

    def test_other_major_version_is_named_with_the_way_out(self, tmp_path):
        (tmp_path / "PG_VERSION").write_text("16\n")

        with pytest.raises(
            OtherMajorVersion, match=r"Postgres 16 and this COS brings Postgres 18: move"
        ) as caught:
            cluster_exists(tmp_path)
        assert caught.value.extra == {"found": "16", "wanted": "18"}

    def test_something_else_is_not_overwritten(self, tmp_path):
        (tmp_path / "precious").touch()
        with pytest.raises(ServerFailed, match="not a Postgres cluster: move it away"):
            cluster_exists(tmp_path)
        with pytest.raises(ServerFailed, match="not a Postgres cluster: move it away"):
            cluster_exists(tmp_path / "precious")


class TestCreate:
    async def test_cancelled_set_up_leaves_nothing(self, tmp_path, eventually):
        setting_up = asyncio.create_task(
            create_cluster(
                tmp_path / "postgres",
                bin_folder=find_postgres_bin(),
                account=await choose_account(),
                fsync=False,
            )
        )
        await eventually(lambda: list(tmp_path.glob("postgres.new-*/base")))

        setting_up.cancel()
        with pytest.raises(asyncio.CancelledError):
            await setting_up

        assert not (tmp_path / "postgres").exists()

    async def test_failure_is_quoted_and_leaves_nothing(self, tmp_path):
        program = tmp_path / "bin" / "initdb"
        program.parent.mkdir()
        program.write_text("#!/bin/sh\necho 'initdb: error: it is too late'\nexit 1\n")
        program.chmod(0o755)

        with pytest.raises(ServerFailed, match="initdb said: error: it is too late"):
            await create_cluster(tmp_path / "postgres", bin_folder=program.parent, account=None, fsync=False)

        assert [path.name for path in tmp_path.iterdir()] == ["bin"]
