"""A server's log: bounded, private, and read for the line that explains a death."""

from __future__ import annotations

import stat

import pytest

from cos.infra.logfile import MAX_LOG_BYTES, open_log, read_since, telling_line

POSTGRES_LOG = """\
2026-11-23 03:06:10.836 UTC [5341] LOG:  listening
2026-11-23 03:06:10.848 UTC [5348] FATAL:  lock file "postmaster.pid" already exists
2026-11-23 03:06:10.849 UTC [5341] LOG:  database system is shut down
"""
REDIS_LOG = """\
5060:M 23 Nov 2026 02:44:33.123 # Bad file format reading the append only file: make a backup
5060:M 23 Nov 2026 02:44:33.124 * bye
"""


class TestOpenLog:
    def test_output_is_appended_to_a_private_file(self, tmp_path):
        path = tmp_path / "logs" / "server.log"
        for word in (b"one ", b"two"):
            with open_log(path) as log:
                log.write(word)

        assert path.read_bytes() == b"one two"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600

    def test_large_file_is_moved_aside_and_only_one_is_kept(self, tmp_path):
        path = tmp_path / "server.log"
        for byte in (b"1", b"2"):
            path.write_bytes(byte * (MAX_LOG_BYTES + 1))
            open_log(path).close()

        assert path.read_bytes() == b""
        assert (tmp_path / "server.log.1").read_bytes()[:1] == b"2"
        assert len(list(tmp_path.iterdir())) == 2


class TestReadSince:
    def test_only_what_came_after_is_read(self, tmp_path):
        (tmp_path / "log").write_bytes(b"before after\xff")

        assert read_since(tmp_path / "log", 7) == "after�"

    def test_missing_file_is_empty(self, tmp_path):
        assert read_since(tmp_path / "log", 0) == ""

    def test_only_the_tail_of_a_long_text_is_read(self, tmp_path):
        (tmp_path / "log").write_bytes(b"x" * 1_000_000 + b"end")

        text = read_since(tmp_path / "log", 3)

        assert text.endswith("end")
        assert len(text) == 64 * 1024


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", None),
        ("\n \n", None),
        ("hello\nworld\n", "world"),
        (POSTGRES_LOG, 'FATAL:  lock file "postmaster.pid" already exists'),
        (REDIS_LOG, "Bad file format reading the append only file: make a backup"),
        ("initdb: error: could not create directory\n", "error: could not create directory"),
        ("error: /x/postgres cannot be started: No such file or directory", None),
    ],
)
def test_telling_line_is_the_last_grave_one_without_its_stamp(text, line):
    assert telling_line(text) == (line or (text.strip() or None))
