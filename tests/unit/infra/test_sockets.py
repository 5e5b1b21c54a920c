"""Where the sockets are, and that nobody else can enter there."""

from __future__ import annotations

import os
import shutil
import socket
import stat

import pytest

from cos.errors import FolderNotWritable
from cos.infra.sockets import LONGEST_SOCKET_NAME, fits, make_private, socket_folder


@pytest.fixture
def places():
    """Collects what lies outside of the test's folder, and removes it."""
    made = []
    yield made
    for path in made:
        shutil.rmtree(path)


class TestPlace:
    def test_short_path_has_them_inside(self, tmp_path):
        assert socket_folder(tmp_path) == tmp_path / "sockets"

    def test_long_path_has_them_in_a_private_folder_that_can_be_bound(self, tmp_path, places):
        data = tmp_path.joinpath(*["long" * 20] * 10)
        data.mkdir(parents=True)

        place = socket_folder(data)
        places.append(place)

        assert not place.is_relative_to(tmp_path)
        assert stat.S_IMODE(place.lstat().st_mode) == 0o700
        with socket.socket(socket.AF_UNIX) as one:
            one.bind(str(place / LONGEST_SOCKET_NAME))

    def test_place_is_always_the_same_and_differs_between_folders(self, tmp_path, places):
        first, second = tmp_path / ("a" * 120), tmp_path / ("b" * 120)
        first.mkdir()
        second.mkdir()
        places.extend((socket_folder(first), socket_folder(second)))

        assert socket_folder(first) == places[0] != places[1]

    def test_long_temporary_folder_is_passed_over(self, tmp_path, places, monkeypatch):
        data = tmp_path / ("a" * 120)
        data.mkdir()
        monkeypatch.setattr("tempfile.tempdir", str(data))

        places.append(socket_folder(data))

        assert fits(places[0])

    def test_comma_would_split_the_url_so_they_are_elsewhere(self, tmp_path, places):
        data = tmp_path / "a,b"
        data.mkdir()

        places.append(socket_folder(data))

        assert "," not in str(places[0])

    def test_limit_counts_bytes_not_characters(self, tmp_path):
        name = "é" * ((107 - len(os.fsencode(tmp_path))) // 2)

        assert not fits(tmp_path / name)


class TestPrivate:
    def test_mode_does_not_depend_on_the_umask(self, tmp_path):
        before = os.umask(0o277)
        try:
            make_private(tmp_path / "s")
        finally:
            os.umask(before)

        assert stat.S_IMODE((tmp_path / "s").stat().st_mode) == 0o700

    def test_link_is_refused(self, tmp_path):
        (tmp_path / "real").mkdir(mode=0o700)
        (tmp_path / "s").symlink_to("real")

        with pytest.raises(FolderNotWritable, match="symbolic link"):
            make_private(tmp_path / "s")

    def test_file_is_refused(self, tmp_path):
        (tmp_path / "s").touch()

        with pytest.raises(FolderNotWritable, match="not a folder"):
            make_private(tmp_path / "s")

    @pytest.mark.parametrize("mode", [0o701, 0o710, 0o750, 0o777, 0o1700])
    def test_folder_open_to_others_is_refused(self, tmp_path, mode):
        (tmp_path / "s").mkdir()
        (tmp_path / "s").chmod(mode)

        with pytest.raises(FolderNotWritable, match=f"mode {mode:04o}"):
            make_private(tmp_path / "s")

    def test_folder_of_another_account_is_refused(self, tmp_path):
        """Root makes one that belongs to another; anybody else finds root's."""
        foreign = tmp_path / "s"
        if os.geteuid() == 0:
            foreign.mkdir(mode=0o700)
            os.chown(foreign, 54321, 54321)
        else:
            foreign = type(foreign)("/etc")

        with pytest.raises(FolderNotWritable, match="belongs to another account"):
            make_private(foreign)
