"""The embedded Postgres, for real."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import stat
import subprocess

import asyncpg
import psutil
import pytest

from cos.errors import OtherMajorVersion, ServerFailed
from cos.infra.binaries import find_postgres_bin
from cos.infra.folder import DataFolder
from cos.infra.postgres import EmbeddedPostgres


async def ask(server, query, *values):
    connection = await asyncpg.connect(server.url, timeout=20)
    try:
        return await connection.fetchval(query, *values)
    finally:
        await connection.close()


class TestStart:
    async def test_first_start_sets_up_a_private_utf8_cluster(self, folder):
        """Also clears away what an earlier set-up that was cut short has left."""
        (folder.path / "postgres.new-old" / "base").mkdir(parents=True)
        said = []
        server = EmbeddedPostgres(folder=folder, progress=said.append)
        await server.start()
        try:
            settings = {
                name: await ask(server, "select current_setting($1)", name)
                for name in ("fsync", "synchronous_commit", "full_page_writes", "data_checksums", "TimeZone")
            }
            listens = [
                one.laddr
                for one in psutil.Process(server.pid).net_connections("all")
                if one.status == "LISTEN"
            ]
            locale = await ask(
                server,
                "select concat_ws(' ', pg_encoding_to_char(encoding), datlocprovider, datlocale)"
                " from pg_database where datname = 'cos'",
            )

            assert not list(folder.path.glob("postgres.new-*"))
            assert said == ["Setting up Postgres (only the first time) …"]
            assert settings == {
                "fsync": "on",
                "synchronous_commit": "on",
                "full_page_writes": "on",
                "data_checksums": "on",
                "TimeZone": "UTC",
            }
            assert locale == "UTF8 b C.UTF-8"
            assert not listens, "it must not listen on TCP"
            assert stat.S_IMODE(folder.postgres.stat().st_mode) == 0o700
            assert stat.S_IMODE((folder.sockets / ".s.PGSQL.5432").stat().st_mode) == 0o700
            assert (
                await ask(server, "select count(*) from pg_available_extensions where name = 'vector'") == 1
            )
            assert server.version.startswith("18.")
        finally:
            await server.stop()
        assert (server.state, server.pid, server.last_exit) == ("stopped", None, "exit code 0")
        assert list(folder.sockets.iterdir()) == []

    async def test_second_start_finds_what_the_first_wrote(self, postgres, cluster_folder):
        await ask(postgres, "create table stopped as select 42 as answer")
        await postgres.stop()
        said = []

        again = EmbeddedPostgres(folder=cluster_folder, fsync=False, progress=said.append)
        await again.start()
        try:
            assert await ask(again, "select answer from stopped") == 42
            assert said == []
        finally:
            await again.stop()

    async def test_tests_may_do_without_the_disk(self, postgres):
        """A commit still waits for the kernel, so that kill -9 loses nothing even then."""
        assert [
            await ask(postgres, "select current_setting($1)", name)
            for name in ("fsync", "synchronous_commit", "full_page_writes")
        ] == ["off", "on", "off"]

    async def test_waiting_for_it_leaves_no_complaint_in_its_log(self, postgres, cluster_folder):
        """A question that comes too early would, and a later failure would then be explained by it."""
        log = (cluster_folder.logs / "postgres.log").read_text()

        assert "the database system is starting up" not in log

    async def test_started_twice_is_started_once(self, postgres):
        pid = postgres.pid
        await postgres.start()

        assert postgres.pid == pid

    async def test_owners_environment_does_not_reach_it(self, cluster_folder, monkeypatch):
        for name, value in {
            "PGOPTIONS": "-c nonsense=1",
            "PGDATA": "/nowhere",
            "PGPORT": "1",
            "LC_ALL": "xx",
        }.items():
            monkeypatch.setenv(name, value)
        server = EmbeddedPostgres(folder=cluster_folder, fsync=False)

        await server.start()
        environment = psutil.Process(server.pid).environ()
        await server.stop()

        assert set(environment) <= {"PATH", "LC_ALL", "TZ", "PG_GRANDPARENT_PID"}

    @pytest.mark.parametrize(
        "name", ["long" * 20 + "/" + "path" * 40, "with space, comma 'quote\" 100% ü?#&@:=+"]
    )
    async def test_any_path_works_for_asyncpg_and_psql(self, tmp_path, cluster_folder, name):
        folder = DataFolder.open(tmp_path / name)
        shutil.copytree(cluster_folder.postgres, folder.postgres)
        server = EmbeddedPostgres(folder=folder, fsync=False)
        try:
            await server.start()
            assert await ask(server, "select 1") == 1
            psql = await asyncio.to_thread(
                subprocess.run,
                [find_postgres_bin() / "psql", server.url, "-Atc", "select current_user"],
                capture_output=True,
                text=True,
                check=True,
            )
            assert psql.stdout == "cos\n"
        finally:
            await server.stop()
            shutil.rmtree(folder.sockets)

    async def test_other_major_version_is_refused(self, folder):
        folder.postgres.mkdir()
        (folder.postgres / "PG_VERSION").write_text("17\n")

        with pytest.raises(OtherMajorVersion, match="Postgres 17"):
            await EmbeddedPostgres(folder=folder).start()

    async def test_broken_cluster_is_told_with_the_reason(self, cluster_folder):
        control = cluster_folder.postgres / "global" / "pg_control"
        control.rename(control.with_name("pg_control.away"))
        server = EmbeddedPostgres(folder=cluster_folder, fsync=False)
        try:
            with pytest.raises(ServerFailed, match=r"did not start: .*pg_control.*postgres\.log"):
                await server.start()
            assert server.state == "failed"
        finally:
            control.with_name("pg_control.away").rename(control)


class TestDeath:
    @pytest.mark.parametrize("guard", ["exec", "pipe"])
    async def test_killed_postmaster_is_replaced_and_nothing_committed_is_lost(
        self, cluster_folder, eventually, guard
    ):
        server = EmbeddedPostgres(folder=cluster_folder, guard=guard)
        await server.start()
        await ask(server, f"create table killed_{guard} as select 42 as answer")
        pid = server.pid

        os.kill(pid, signal.SIGKILL)
        await eventually(lambda: server.state == "restarting")
        await eventually(lambda: server.state == "running")

        assert server.pid != pid
        assert (server.restarts, server.last_exit) == (1, "killed by SIGKILL")
        assert await ask(server, f"select answer from killed_{guard}")  # noqa: S608  (a name of ours) == 42
        await server.stop()

    async def test_open_sessions_do_not_hold_up_a_stop(self, postgres):
        connection = await asyncpg.connect(postgres.url)
        await connection.execute("begin; create table never(x int)")

        await postgres.stop()

        assert postgres.last_exit == "exit code 0"
        connection.terminate()

    async def test_sockets_cleaned_away_come_back_with_the_next_life(
        self, postgres, cluster_folder, eventually
    ):
        for path in cluster_folder.sockets.iterdir():
            path.unlink()
        cluster_folder.sockets.rmdir()

        os.kill(postgres.pid, signal.SIGKILL)
        await eventually(lambda: postgres.restarts == 1 and postgres.state == "running")

        assert await ask(postgres, "select 1") == 1


class TestLeftovers:
    """What an owner that was killed leaves behind never keeps the next one from starting."""

    @pytest.fixture
    def stale(self, cluster_folder):
        """Leave the files of a dead Postgres that name a given process."""

        def leave(pid):
            where = f"{cluster_folder.postgres}\n1700000000\n5432\n{cluster_folder.sockets}"
            text = f"{pid}\n{where}\n\n  1  2\nready   \n"
            (cluster_folder.postgres / "postmaster.pid").write_text(text)
            (cluster_folder.sockets / ".s.PGSQL.5432.lock").write_text(text)
            (cluster_folder.sockets / ".s.PGSQL.5432").touch()

        return leave

    @pytest.mark.parametrize("whose", ["nobody", "a bystander", "ourselves"])
    async def test_stale_files_are_seen_through(self, stale, cluster_folder, bystander, dead_pid, whose):
        stale({"nobody": dead_pid, "a bystander": bystander.pid, "ourselves": os.getpid()}[whose])
        server = EmbeddedPostgres(folder=cluster_folder, fsync=False)

        await server.start()
        assert await ask(server, "select 1") == 1
        await server.stop()

        assert bystander.poll() is None

    @pytest.mark.parametrize("content", ["", "nonsense", "-5\n", "0\n"])
    async def test_pid_file_that_a_power_cut_emptied_is_overcome(self, cluster_folder, content):
        """Postgres itself refuses to start over such a file."""
        (cluster_folder.postgres / "postmaster.pid").write_text(content)
        server = EmbeddedPostgres(folder=cluster_folder, fsync=False)

        await server.start()
        assert await ask(server, "select 1") == 1
        await server.stop()

    @pytest.mark.parametrize("state", ["running", "paused", "headless"])
    async def test_orphan_is_ended_before_the_next_start(self, postgres, cluster_folder, gone, state):
        """An orphan that holds the cluster goes first, also one that is paused or has lost its head."""
        orphan = postgres.pid
        postgres._process._supervisor.cancel()
        connection = await asyncpg.connect(postgres.url)
        backend = connection.get_server_pid()
        if state == "paused":
            os.kill(orphan, signal.SIGSTOP)
        if state == "headless":
            os.kill(backend, signal.SIGSTOP)
            os.kill(orphan, signal.SIGKILL)
        server = EmbeddedPostgres(folder=cluster_folder, fsync=False)

        await server.start()

        assert await ask(server, "select 1") == 1
        assert gone(orphan)
        assert gone(backend)
        await server.stop()
        connection.terminate()
