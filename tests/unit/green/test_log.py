"""The event log is append-only, ordered, and says so when it is damaged."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from cos.green.errors import BadLog
from cos.green.log import Log


def test_events_come_back_in_order_and_by_run(tmp_path: Path) -> None:
    log = Log(tmp_path / "log.db")
    log.append("a", "run_started", base="x", options={})
    log.append("b", "scanned", n=1)
    second = log.append("a", "wave_done", wave=1)

    assert [(event.kind, event.body) for event in log.events("a", after=1)] == [("wave_done", {"wave": 1})]
    assert [event.seq for event in log.events()] == [1, 2, second.seq]
    assert log.last_run() == "a"


@pytest.mark.parametrize("statement", ["update event set kind = 'x'", "delete from event"])
def test_what_happened_cannot_be_changed(tmp_path: Path, statement: str) -> None:
    Log(tmp_path / "log.db").append("a", "run_started")

    with (
        sqlite3.connect(tmp_path / "log.db") as other,
        pytest.raises(sqlite3.IntegrityError, match="append-only"),
    ):
        other.execute(statement)
    other.close()


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "log.db").write_bytes(b"not a database" * 100)

    with pytest.raises(BadLog, match="damaged"):
        Log(tmp_path / "log.db")
