"""The lock of the data folder: one owner at a time, for as long as it lives."""

from __future__ import annotations

import errno
import os
import subprocess
import sys

import pytest

from cos.errors import AlreadyRunning, FolderNotWritable

OWNER = """
import sys, pathlib
from cos.infra.folder import DataFolder
lock = DataFolder.open(pathlib.Path(sys.argv[1])).lock({"since": "2026-01-02T03:04:05Z"})
print("locked", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def owner(folder):
    """Another process that has the lock."""
    with subprocess.Popen(
        [sys.executable, "-c", OWNER, str(folder.path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout.readline() == b"locked\n"
        yield process
        process.kill()


def test_second_is_told_who_has_it(folder, owner):
    folder.write_run({"pid": owner.pid, "address": "http://127.0.0.1:8123"})

    with pytest.raises(AlreadyRunning) as caught:
        folder.lock({})

    assert f"process {owner.pid}, since 2026-01-02T03:04:05Z, at http://127.0.0.1:8123" in caught.value.detail
    assert caught.value.extra == {
        "pid": owner.pid,
        "since": "2026-01-02T03:04:05Z",
        "address": "http://127.0.0.1:8123",
    }


def test_run_state_of_an_earlier_owner_is_not_taken_for_this_one(folder, owner):
    folder.write_run({"pid": owner.pid + 1, "address": "http://127.0.0.1:8123", "detail": "x"})

    with pytest.raises(AlreadyRunning) as caught:
        folder.lock({})

    assert "8123" not in caught.value.detail


def test_a_full_disk_keeps_nobody_from_it(folder, monkeypatch):
    """Only who holds it cannot be read then; another error is one."""

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "no space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    with folder.lock({}), pytest.raises(AlreadyRunning):
        folder.lock({})

    def broken(*_: object) -> int:
        raise OSError(errno.EIO, "input/output error")

    monkeypatch.setattr(os, "pwrite", broken)
    with pytest.raises(FolderNotWritable, match="input/output error"):
        folder.lock({})


@pytest.mark.parametrize("content", [b"", b'{"pid":', b"[]"])
def test_unreadable_lock_file_still_locks(folder, owner, content):
    (folder.path / "lock").write_bytes(content)

    with pytest.raises(AlreadyRunning, match=r"^Another COS has the data folder"):
        folder.lock({})


def test_kill_of_the_owner_gives_it_up(folder, owner):
    owner.kill()
    owner.wait()

    with folder.lock({}):
        pass


def test_second_in_the_same_process_is_refused_until_the_first_closes(folder):
    with folder.lock({}), pytest.raises(AlreadyRunning):
        folder.lock({})
    lock = folder.lock({})
    lock.close()
    lock.close()

    folder.lock({}).close()


def test_child_does_not_inherit_it(folder):
    """A child that outlives the owner must not keep the folder locked."""
    lock = folder.lock({})
    with subprocess.Popen(["sleep", "600"], close_fds=False) as child:
        lock.close()

        with folder.lock({}):
            assert child.poll() is None
        child.kill()


def test_lock_file_that_cannot_be_written_is_told(folder):
    (folder.path / "lock").mkdir()

    with pytest.raises(FolderNotWritable, match="lock: is a directory"):
        folder.lock({})
