"""Log files that stay small while their owners write on."""

from __future__ import annotations

import os
import stat
from types import SimpleNamespace

import pytest

from cos.infra.rotation import Rotation, set_aside


@pytest.fixture
def rotation(tmp_path):
    limits = SimpleNamespace(log_max_bytes=100, log_files=2)
    return SimpleNamespace(part=Rotation(folder=tmp_path, limits=limits), limits=limits)


def contents(folder) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir()}


async def test_a_log_that_has_grown_is_set_aside(rotation, tmp_path) -> None:
    """Its writer goes on at the beginning of the emptied file; the oldest goes; what is small stays."""
    (tmp_path / "small.log").write_text("s")
    with (tmp_path / "a.log").open("a") as log:
        for number in range(4):
            log.write(f"{number}" * 101)
            log.flush()
            assert await rotation.part.turn() > 0
        log.write("on")
        log.flush()
    assert contents(tmp_path) == {"small.log": "s", "a.log": "on", "a.log.1": "3" * 101, "a.log.2": "2" * 101}
    assert stat.S_IMODE((tmp_path / "a.log.1").stat().st_mode) == 0o600


def test_fewer_are_kept(rotation, tmp_path) -> None:
    """A lower number takes effect at the next time; with none the log is only emptied. Other files are left."""
    for name in ("a.log.1", "a.log.2", "a.log.9", "a.log.old", "b.log.7"):
        (tmp_path / name).write_text(name)
    (tmp_path / "a.log").write_text("x" * 101)
    rotation.limits.log_files = 1
    assert rotation.part.look() == [tmp_path / "a.log"]
    assert contents(tmp_path) == {
        "a.log": "",
        "a.log.1": "x" * 101,
        "a.log.old": "a.log.old",
        "b.log.7": "b.log.7",
    }
    set_aside(tmp_path / "a.log", keep=0)
    assert not (tmp_path / "a.log.1").exists()


def test_a_full_disk(rotation, tmp_path, monkeypatch) -> None:
    """The log is left as it is, the older ones make room, and the next look succeeds."""
    (tmp_path / "a.log").write_text("x" * 101)
    (tmp_path / "a.log.1").write_text("old")
    real = os.open
    monkeypatch.setattr(os, "open", lambda path, *rest: real("/dev/full", os.O_WRONLY))
    assert rotation.part.look() == []
    assert contents(tmp_path) == {"a.log": "x" * 101}
    monkeypatch.undo()
    assert rotation.part.look() == [tmp_path / "a.log"]


def test_nothing_there(rotation, tmp_path) -> None:
    tmp_path.rmdir()
    assert rotation.part.look() == []
