"""The data folder: where it can be, what refuses it, and its run state."""

from __future__ import annotations

import os
import shutil
import stat
import threading
from pathlib import Path

import pytest

from cos.errors import DiskFull, FolderNotWritable
from cos.infra import folder as folder_module
from cos.infra.folder import DataFolder


class TestFind:
    def test_it_makes_and_checks_nothing(self, tmp_path, monkeypatch):
        """Whoever only looks must be able to where the disk is full, or nothing is there."""
        full = shutil.disk_usage(tmp_path)._replace(free=0)
        monkeypatch.setattr(shutil, "disk_usage", lambda _path: full)

        assert DataFolder.find(tmp_path / "none").read_run() is None
        assert list(tmp_path.iterdir()) == []

    def test_it_is_the_folder_that_is_opened(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        opened = DataFolder.open(tmp_path / "d")
        (tmp_path / "link").symlink_to("d")

        assert DataFolder.find(Path("link")).path == opened.path


class TestOpen:
    def test_new_folder_is_private_with_its_parents_made(self, tmp_path):
        folder = DataFolder.open(tmp_path / "a" / "b")

        assert stat.S_IMODE(folder.path.stat().st_mode) == 0o700
        for inner in (folder.sockets, folder.redis, folder.logs):
            assert stat.S_IMODE(inner.stat().st_mode) == 0o700

    def test_opening_twice_gives_the_same_folder(self, tmp_path):
        assert DataFolder.open(tmp_path / "d") == DataFolder.open(tmp_path / "d")

    def test_link_leads_to_the_folder_it_means(self, tmp_path):
        (tmp_path / "real").mkdir()
        (tmp_path / "link").symlink_to("real")

        assert DataFolder.open(tmp_path / "link").path == tmp_path / "real"

    def test_relative_path_and_home_are_made_absolute(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("HOME", str(tmp_path))

        assert DataFolder.open(Path("d")).path == tmp_path / "d"
        assert DataFolder.open(Path("~/d")).path == tmp_path / "d"

    @pytest.mark.parametrize("below", ["", "inner", "inner/more"])
    def test_file_in_the_way_is_named(self, tmp_path, below):
        (tmp_path / "file").write_text("not a folder")

        with pytest.raises(FolderNotWritable, match=r"file is a file, not a folder.*COS_DATA_DIR"):
            DataFolder.open(tmp_path / "file" / below)

    def test_place_where_nothing_can_be_made_is_refused(self):
        with pytest.raises(FolderNotWritable, match=r"/proc/cos cannot be written .*COS_DATA_DIR"):
            DataFolder.open(Path("/proc/cos"))

    def test_folder_that_everybody_can_change_is_refused(self, tmp_path):
        (tmp_path / "d").mkdir()
        (tmp_path / "d").chmod(0o777)

        with pytest.raises(FolderNotWritable, match="chmod o-w"):
            DataFolder.open(tmp_path / "d")

    def test_line_break_in_the_name_is_refused(self, tmp_path):
        with pytest.raises(FolderNotWritable, match="line break"):
            DataFolder.open(tmp_path / "a\nb")

    def test_disk_without_room_is_refused_with_what_is_left(self, tmp_path, monkeypatch):
        needed = shutil.disk_usage(tmp_path).total * 2
        monkeypatch.setattr(folder_module, "MIN_FREE_BYTES", needed)

        with pytest.raises(DiskFull, match=rf"MiB left and COS needs {needed // 1024**2} MiB") as caught:
            DataFolder.open(tmp_path / "d")
        assert 0 < caught.value.extra["free_bytes"] < needed

    def test_sockets_that_were_cleaned_away_are_made_again(self, folder):
        folder.sockets.rmdir()

        folder.renew_sockets()

        assert stat.S_IMODE(folder.sockets.stat().st_mode) == 0o700


class TestRunState:
    def test_what_was_written_is_read(self, folder):
        folder.write_run({"pid": 1, "address": "http://127.0.0.1:8000"})

        assert folder.read_run() == {"pid": 1, "address": "http://127.0.0.1:8000"}
        assert stat.S_IMODE(folder.run_file.stat().st_mode) == 0o600

    def test_none_before_it_is_written_and_after_it_is_cleared(self, folder):
        assert folder.read_run() is None
        folder.write_run({})
        folder.clear_run()
        folder.clear_run()

        assert folder.read_run() is None

    @pytest.mark.parametrize("content", [b"", b'{"pid": 1', b"[1, 2]", b"\xff\xfe", b"[" * 100_000, b"1"])
    def test_half_written_or_foreign_content_is_none(self, folder, content):
        folder.run_file.write_bytes(content)

        assert folder.read_run() is None

    def test_link_to_elsewhere_is_not_followed(self, folder, tmp_path):
        (tmp_path / "elsewhere").write_text("{}")
        folder.run_file.symlink_to(tmp_path / "elsewhere")

        assert folder.read_run() is None

    def test_pipe_in_its_place_does_not_hang_the_reader(self, folder):
        os.mkfifo(folder.run_file)

        assert folder.read_run() is None

    def test_reader_never_sees_half_a_state(self, folder):
        """Replaces the state three hundred times under a reader: each read is one whole state."""
        states = [{"n": n, "filler": "x" * 10_000} for n in range(300)]
        folder.write_run(states[0])
        writer = threading.Thread(target=lambda: [folder.write_run(state) for state in states])
        writer.start()

        seen = []
        while writer.is_alive():
            seen.append(folder.read_run())
        writer.join()

        assert seen
        assert all(state in states for state in seen)

    def test_folder_that_has_vanished_is_told(self, folder):
        shutil.rmtree(folder.path)
        try:
            with pytest.raises(FolderNotWritable, match=r"run\.json\.new"):
                folder.write_run({})
        finally:
            folder.sockets.mkdir(parents=True)
