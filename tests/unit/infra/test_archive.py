"""A backup's file: whole and private or not there, and every changed byte found."""

from __future__ import annotations

import errno
import gzip
import json
import os
import stat
import tarfile
from pathlib import Path

import pytest

from cos.errors import BadBackup, Conflict, DiskFull, FolderNotWritable, NotFound
from cos.infra.archive import ArchiveReader, ArchiveWriter

PIECES = [b"first" * 1000, b"second" * 1000, b"x"]


def write(path: Path, pieces: list[bytes] = PIECES, **manifest: object) -> Path:
    with ArchiveWriter(path) as archive:
        archive.begin({"cos": "1.2.3", **manifest})
        for piece in pieces:
            archive.add(piece)
        assert archive.finish() == path.stat().st_size
    return path


def read(path: Path) -> tuple[dict, list[bytes]]:
    with ArchiveReader(path) as archive:
        return archive.manifest, list(archive.pieces())


class TestWriting:
    """From nothing to a file, or to nothing."""

    @pytest.mark.parametrize("name", ["a.backup", "a.backup.gz"])
    def test_what_was_written_is_read(self, tmp_path, name) -> None:
        """The manifest and the pieces in their order; private, and nothing beside it; packed when so named."""
        path = write(tmp_path / name, revision="0001")
        assert read(path) == ({"format": 1, "cos": "1.2.3", "revision": "0001"}, PIECES)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert list(tmp_path.iterdir()) == [path]
        assert (path.read_bytes()[:2] == b"\x1f\x8b") == name.endswith(".gz")

    def test_anybody_can_unpack_it(self, tmp_path) -> None:
        """It is an ordinary tar, whose pieces joined are the dump."""
        with tarfile.open(write(tmp_path / "a")) as tar:
            names = tar.getnames()
            assert names == ["manifest.json", *(f"database/00000{n}" for n in (1, 2, 3)), "end.json"]
            assert b"".join(tar.extractfile(name).read() for name in names[1:-1]) == b"".join(PIECES)

    def test_an_empty_database(self, tmp_path) -> None:
        assert read(write(tmp_path / "a", []))[1] == []

    def test_what_is_not_finished_leaves_nothing(self, tmp_path) -> None:
        """An error, or a Ctrl-C, removes the part; the name was never there."""
        path = tmp_path / "a"
        with ArchiveWriter(path) as archive:
            archive.begin({})
            archive.add(b"x")
            assert not path.exists()
        assert list(tmp_path.iterdir()) == []

    def test_an_existing_file_is_left_alone(self, tmp_path) -> None:
        """Whether it was there before, or came while the backup was written."""
        path = tmp_path / "a"
        path.write_bytes(b"mine")
        with pytest.raises(Conflict, match="already a file"):
            ArchiveWriter(path)
        late = tmp_path / "late"
        with ArchiveWriter(late) as archive:
            archive.begin({})
            late.write_bytes(b"mine too")
            with pytest.raises(Conflict, match="by now"):
                archive.finish()
        assert (path.read_bytes(), late.read_bytes()) == (b"mine", b"mine too")
        assert len(list(tmp_path.iterdir())) == 2

    def test_the_part_of_a_killed_run_is_begun_anew(self, tmp_path) -> None:
        """And closed to others, whatever it was."""
        part = tmp_path / "a.part"
        part.write_bytes(b"z" * 100_000)
        part.chmod(0o644)
        path = write(tmp_path / "a")
        assert read(path)[1] == PIECES
        assert stat.S_IMODE(path.stat().st_mode) == 0o600

    def test_two_at_once(self, tmp_path) -> None:
        """The second is told; the first goes on."""
        path = tmp_path / "a"
        with ArchiveWriter(path) as archive:
            archive.begin({})
            with pytest.raises(Conflict, match="Another run is writing"):
                ArchiveWriter(path)
            archive.finish()
        assert read(path)[1] == []

    def test_a_folder_that_is_not_there(self, tmp_path) -> None:
        with pytest.raises(FolderNotWritable, match="no such file or directory"):
            ArchiveWriter(tmp_path / "nowhere" / "a")

    def test_a_full_disk(self, tmp_path, monkeypatch) -> None:
        """In words, and nothing left; `/dev/full` refuses each byte as a full disk does."""
        archive = ArchiveWriter(tmp_path / "a")
        full = os.open("/dev/full", os.O_WRONLY)
        os.dup2(full, archive._file.out.fileno())
        os.close(full)
        with archive:
            archive.begin({})
            with pytest.raises(DiskFull, match="was not written"):
                archive.add(b"x" * 4_000_000)
        assert list(tmp_path.iterdir()) == []

    def test_a_file_system_without_links(self, tmp_path, monkeypatch) -> None:
        """It is renamed then, and still replaces nothing."""

        def refuse(*_: object) -> None:
            raise OSError(errno.EPERM, "no links here")

        monkeypatch.setattr(os, "link", refuse)
        assert read(write(tmp_path / "a"))[1] == PIECES
        with ArchiveWriter(tmp_path / "b") as archive:
            archive.begin({})
            (tmp_path / "b").touch()
            with pytest.raises(Conflict):
                archive.finish()


class TestReading:
    """What is not as it was written is not believed."""

    @pytest.mark.parametrize(
        "content",
        [
            b"",
            b"\x00" * 10_240,
            b"PGDMP",
            b"{}",
            b"\x1f\x8b",
            gzip.compress(b"hello", mtime=0),
            os.urandom(5000),
            b"x" * 512,
        ],
        ids=["empty", "zeros", "of pg_dump", "JSON", "gzip's mark", "gzip", "noise", "one block"],
    )
    def test_a_foreign_file(self, tmp_path, content) -> None:
        path = tmp_path / "a"
        path.write_bytes(content)
        with pytest.raises(BadBackup, match=r"no backup of COS|damaged|cut short"):
            read(path)

    def test_a_foreign_tar(self, tmp_path) -> None:
        """Also one whose first entry has the right name, or leads out of the folder."""
        for name, content in (("a", b"x"), ("manifest.json", b"[]"), ("manifest.json", b"[" * 100_000)):
            (tmp_path / "content").write_bytes(content)
            with tarfile.open(tmp_path / "foreign", "w") as tar:
                tar.add(tmp_path / "content", name)
            with pytest.raises(BadBackup, match="is no backup of COS"):
                read(tmp_path / "foreign")

    def test_nowhere_and_a_folder(self, tmp_path) -> None:
        with pytest.raises(NotFound, match="There is no file"):
            ArchiveReader(tmp_path / "nowhere")
        with pytest.raises(BadBackup, match="is a folder"):
            ArchiveReader(tmp_path)

    def test_a_newer_format(self, tmp_path) -> None:
        """It is refused by its number, with the version that wrote it."""
        with pytest.raises(BadBackup, match=r"format 2 by a newer COS \(9\.9\)"):
            read(write(tmp_path / "a", format=2, cos="9.9"))

    @pytest.mark.parametrize("name", ["a", "a.gz"])
    def test_cut_short_anywhere(self, tmp_path, name) -> None:
        """At every place up to the end of what was written, the padding of the tar left out."""
        whole = write(tmp_path / name).read_bytes()
        end = whole.rindex(b"}") if name == "a" else len(whole) - 8
        for cut in (*range(0, end, 997), end):
            (tmp_path / "cut").write_bytes(whole[:cut])
            with pytest.raises(BadBackup, match=r"cut short|no backup|damaged"):
                read(tmp_path / "cut")

    @pytest.mark.parametrize("name", ["a", "a.gz"])
    def test_a_changed_byte_anywhere(self, tmp_path, name) -> None:
        """Every byte of the contents counts; where a change goes unseen, nothing that is read has changed."""
        path = write(tmp_path / name)
        whole, meant = path.read_bytes(), read(path)
        found = 0
        for place in range(0, len(whole), 251 if name == "a" else 1):
            (tmp_path / "bad").write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
            try:
                assert read(tmp_path / "bad") == meant
            except BadBackup:
                found += 1
        assert found

    def test_a_piece_that_is_missing_or_moved(self, tmp_path) -> None:
        """Whole entries, each right by itself, in another order or number."""
        with tarfile.open(write(tmp_path / "a")) as tar:
            entries = [(entry, tar.extractfile(entry).read()) for entry in tar]
        for order in ((0, 2, 1, 3, 4), (0, 1, 2, 4), (0, 1, 2, 3, 3, 4), (0, 4), (0, 1, 2, 3)):
            with tarfile.open(tmp_path / "other", "w") as tar:
                for number in order:
                    (tmp_path / "content").write_bytes(entries[number][1])
                    tar.add(tmp_path / "content", entries[number][0].name)
            with pytest.raises(BadBackup):
                read(tmp_path / "other")

    def test_checksums_that_cannot_be_read(self, tmp_path) -> None:
        """A changed list of checksums is a damaged file, whatever it became."""
        whole = write(tmp_path / "a").read_bytes()
        at = whole.rindex(b'"pieces"')
        for change in (b"'pieces'", b'"piecez"', b"[[[[[[[["):
            (tmp_path / "bad").write_bytes(whole[:at] + change + whole[at + 8 :])
            with pytest.raises(BadBackup, match="checksums cannot be read"):
                read(tmp_path / "bad")
        wrong = whole.replace(json.dumps("database/000002").encode() + b': "', b'"database/000002": "0')
        (tmp_path / "bad").write_bytes(wrong)
        with pytest.raises(BadBackup):
            read(tmp_path / "bad")
