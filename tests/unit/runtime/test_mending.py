"""`cos doctor --fix`: each fault is found, is mended, and is then not found any more."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import asyncpg
import psutil
import pytest

from cos.config import Settings, load_settings
from cos.errors import DiskFull, FolderNotWritable
from cos.infra.binaries import find_redis_server
from cos.infra.folder import DataFolder
from cos.infra.postgres import EmbeddedPostgres
from cos.migrations.apply import migrate
from cos.runtime.mending import faults, mend, unlock
from cos.runtime.restore import mend_positions


@pytest.fixture
def given(tmp_path) -> Settings:
    return load_settings(data_dir=tmp_path / "data", fsync=False)


@pytest.fixture
def folder(given) -> DataFolder:
    return DataFolder.open(given.data_dir)


def found(given: Settings) -> list[str]:
    return [fault.found for fault in faults(given)]


class TestFaults:
    """One of each kind."""

    def test_none(self, given, folder, tmp_path) -> None:
        """A new folder has none, one that is not there has none, and neither is changed."""
        assert (found(given), mend(given)) == ([], [])
        elsewhere = load_settings(data_dir=tmp_path / "nowhere")
        assert (found(elsewhere), mend(elsewhere)) == ([], [])
        assert not elsewhere.data_dir.exists()

    def test_open_to_others(self, given, folder) -> None:
        """Also the folder itself, which keeps COS from starting; a settings file may hold a password."""
        (folder.path / "cos.toml").write_text("port = 1")
        for path, mode in ((folder.path, 0o777), (folder.logs, 0o755), (folder.sockets, 0o770)):
            path.chmod(mode)
        (folder.path / "cos.toml").chmod(0o644)
        assert len(found(given)) == 4
        assert len(mend(given)) == 4
        assert found(given) == []
        assert stat.S_IMODE(folder.path.stat().st_mode) == 0o775
        assert stat.S_IMODE(folder.logs.stat().st_mode) == 0o700

    def test_what_was_left(self, given, folder) -> None:
        """A run state of nobody, half-made clusters and restores, sockets of no server."""
        folder.write_run({"pid": 1, "created": 0})
        (folder.path / "postgres.new-abc").mkdir()
        (folder.path / "restoring-abc" / "postgres").mkdir(parents=True)
        (folder.sockets / "redis.sock").touch()
        assert len(found(given)) == 4
        assert len(mend(given)) == 4
        assert found(given) == []
        assert not (folder.path / "restoring-abc").exists()

    def test_a_server_without_its_cos(self, given, folder) -> None:
        """It is named with its process, and ended."""
        command = [
            str(find_redis_server()),
            "--port",
            "0",
            "--unixsocket",
            str(folder.redis / "s"),
            "--save",
            "",
        ]
        left = subprocess.Popen(command, cwd=folder.redis, stdout=subprocess.DEVNULL)
        try:
            while not found(given):
                assert left.poll() is None
            assert f"process {left.pid}" in found(given)[0]
            [said] = mend(given)
            assert left.wait(10) is not None
            assert "redis-server" in said
        finally:
            left.kill()
            left.wait()
        assert found(given) == []

    def test_what_is_no_cluster(self, given, folder) -> None:
        """It is moved aside with all that is in it."""
        folder.postgres.mkdir(mode=0o700)
        (folder.postgres / "mine.txt").write_text("precious")
        [said] = mend(given)
        assert "nothing in it was changed" in said
        [aside] = folder.path.glob("postgres.broken-*")
        assert (aside / "mine.txt").read_text() == "precious"
        assert found(given) == []

    def test_a_long_log(self, given, folder) -> None:
        (folder.logs / "cos.log").write_bytes(b"x" * (given.log_max_bytes + 1))
        assert "10 MiB" in found(given)[0]
        mend(given)
        assert (folder.logs / "cos.log").stat().st_size == 0
        assert found(given) == []

    def test_what_its_own_account_cannot_use(self, given, folder) -> None:
        """Somebody was too careful: COS would not start."""
        (folder.path / "cos.toml").write_text("port = 1")
        (folder.path / "cos.toml").chmod(0o400)
        folder.logs.chmod(0o500)
        folder.redis.chmod(0o005)
        said = found(given)
        assert f"{folder.logs} cannot be used by its own account (mode 0500)" in said
        assert len([one for one in said if "own account" in one]) == 3
        mend(given)
        assert found(given) == []
        modes = [stat.S_IMODE(one.stat().st_mode) for one in (folder.logs, folder.redis)]
        assert modes == [0o700, 0o700]
        assert stat.S_IMODE((folder.path / "cos.toml").stat().st_mode) == 0o600

    def test_a_folder_that_was_locked_with_its_settings_is_unlocked_first(self, tmp_path) -> None:
        """Nothing can be read there, so the settings cannot say what else is wrong: first the rights, then the rest."""
        place = tmp_path / "locked"
        place.mkdir()
        (place / "cos.toml").write_text("port = 1")
        for one in (place / "cos.toml", place):
            one.chmod(0o000)
        done = unlock(place)
        assert done == [f"{place} can be used again", f"{place / 'cos.toml'} can be used again"]
        assert [stat.S_IMODE(one.stat().st_mode) for one in (place, place / "cos.toml")] == [0o700, 0o600]
        assert unlock(place) == []

    def test_an_empty_folder_is_well(self, tmp_path) -> None:
        """Nothing has run there: there is nothing to mend, and nothing is made."""
        place = tmp_path / "empty"
        place.mkdir(mode=0o700)
        assert mend(load_settings(data_dir=place)) == []
        assert list(place.iterdir()) == []

    def test_rights_that_only_root_may_change(self, tmp_path, monkeypatch) -> None:
        def refuse(_path: Path, _mode: int) -> None:
            raise PermissionError(errno.EPERM, "Operation not permitted")

        place = tmp_path / "theirs"
        place.mkdir(mode=0o500)
        monkeypatch.setattr(Path, "chmod", refuse)
        with pytest.raises(FolderNotWritable, match=f"run: sudo chmod 700 {place}"):
            unlock(place)

    @pytest.mark.parametrize("root", [True, False])
    def test_what_belongs_to_another_account(self, given, folder, monkeypatch, root) -> None:
        """Root gives it back; anybody else is told what to run, and nothing is touched."""
        log = folder.logs / "redis.log"
        log.touch(mode=0o600)
        real, given_to = Path.lstat, []

        def lstat(path: Path) -> os.stat_result:
            found = real(path)
            if path != log or given_to:
                return found
            return os.stat_result((*found[:4], found.st_uid + 4321, *found[5:]))

        monkeypatch.setattr(Path, "lstat", lstat)
        monkeypatch.setattr(os, "geteuid", lambda: 0 if root else folder.path.stat().st_uid + 1)
        monkeypatch.setattr(os, "chown", lambda path, *owner, **_: given_to.append((Path(path), owner[0])))
        owner = folder.path.stat().st_uid
        [fault] = [one for one in faults(given) if str(log) in one.found]
        assert "belongs to the account" in fault.found
        if root:
            assert fault.mend is not None
            assert "belongs to the account" in fault.mend()
            assert given_to == [(log, owner)]
        else:
            assert fault.mend is None
            assert fault.advice.startswith("run: sudo chown -R ")
            assert given_to == []

    def test_on_a_full_disk_what_is_rubbish_goes(self, given, folder, monkeypatch) -> None:
        """That there is no room is no reason not to make some."""
        (folder.path / "postgres.new-abc").mkdir()
        full = shutil.disk_usage(folder.path)._replace(free=0)
        monkeypatch.setattr(shutil, "disk_usage", lambda _path: full)
        with pytest.raises(DiskFull):
            DataFolder.open(folder.path)
        assert len(mend(given)) == 1
        assert found(given) == []

    def test_what_is_paused_of_a_running_cos(self, given, folder) -> None:
        """COS itself and a child of it: named with their processes, and continued."""
        program = "import subprocess, sys; c = subprocess.Popen(['sleep', '600']); print(c.pid, flush=True); c.wait()"
        cos = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
        child = psutil.Process(int(cos.stdout.readline()))
        whole = psutil.Process(cos.pid)
        try:
            folder.write_run({"pid": cos.pid, "created": whole.create_time()})
            assert found(given) == []
            for one in (whole, child):
                one.suspend()
            while {one.status() for one in (whole, child)} != {psutil.STATUS_STOPPED}:
                assert cos.poll() is None
            assert found(given) == [
                f"COS is paused (process {cos.pid})",
                f"sleep is paused (process {child.pid})",
            ]
            assert mend(given) == ["COS goes on", "sleep goes on"]
            assert found(given) == []
        finally:
            for one in (child, whole):
                one.kill()
            cos.wait()
            cos.stdout.close()

    def test_where_a_cos_runs(self, given, folder) -> None:
        """What is its own is no fault and is left alone."""
        created = psutil.Process().create_time()
        folder.write_run({"pid": os.getpid(), "created": created})
        (folder.sockets / "redis.sock").touch()
        with folder.lock({}):
            assert (found(given), mend(given)) == ([], [])
        assert (folder.sockets / "redis.sock").exists()


class TestPositions:
    """Rows of transactions that this cluster has not reached."""

    async def test_a_dump_in_a_younger_cluster(self, given, folder) -> None:
        """They are found and overtaken; after that there is nothing to do."""
        postgres = EmbeddedPostgres(folder=folder, fsync=False)
        await postgres.start()
        await migrate(postgres.url)
        connection = await asyncpg.connect(postgres.url)
        await connection.execute(
            """
            INSERT INTO l1.record (id, xact, module, type, level, data, time, recorded_at)
            VALUES (gen_random_uuid(), '123456789', 'm', 't', 'info', '1', now(), now())
            """
        )
        await connection.close()
        await postgres.stop()
        [said] = await mend_positions(given)
        assert "go on above" in said
        assert await mend_positions(given) == []
        await postgres.start()
        connection = await asyncpg.connect(postgres.url)
        assert await connection.fetchval("SELECT pg_current_xact_id()::text::bigint") > 123_456_789
        await connection.close()
        await postgres.stop()

    async def test_where_there_is_nothing(self, given, tmp_path) -> None:
        """No folder, no cluster, a cluster without tables, a COS that runs: nothing is done."""
        assert await mend_positions(given) == []
        folder = DataFolder.open(given.data_dir)
        assert await mend_positions(given) == []
        with folder.lock({}):
            assert await mend_positions(given) == []
        assert await mend_positions(load_settings(database_url="postgresql://x")) == []
