"""`cos backup`, `restore`, `verify` and `export`: what they print, and the sentence for what cannot be done."""

from __future__ import annotations

import json

import pytest


@pytest.fixture
def backed_up(living, tmp_path):
    """A backup of the COS that runs."""
    path = tmp_path / "a.backup"
    assert living("backup", str(path)).code == 0
    return path


class TestBackup:
    """Of a COS that runs."""

    def test_backup_and_verify(self, living, tmp_path) -> None:
        """Both say the same of the file, for a person and as JSON."""
        path = tmp_path / "a"
        done = living("backup", str(path), "--json")
        assert (done.code, done.err) == (0, "")
        told, found = json.loads(done.out), json.loads(living("verify", str(path), "--json").out)
        assert told["file_bytes"] == path.stat().st_size
        assert {**told, "seconds": 0} == {**found, "seconds": 0}
        said = living("verify", str(path)).out
        assert said.startswith(f"{path} is whole: ")
        assert f"{told['tables']['l1.record']:,} records" in said
        assert f"revision {told['revision']}" in said

    def test_restore(self, living, backed_up, tmp_path, monkeypatch) -> None:
        """Into a folder of its own; it says what to do next, and refuses the second time."""
        target = str(tmp_path / "target")
        done = living("restore", str(backed_up), "--data-dir", target)
        assert done.code == 0, done.err
        assert f"restored into {target}; start it with: cos up" in done.out
        again = living("restore", str(backed_up), "--data-dir", target)
        assert again.code == 5
        assert "There is a database in" in again.sentence

    def test_refusals(self, living, cos, backed_up, tmp_path, running) -> None:
        """A name that is taken, a folder in use, a file that is none, no database: the sentence and the exit code."""
        assert living("backup", str(backed_up)).code == 5
        assert "Another COS" in living("restore", str(backed_up)).sentence
        (tmp_path / "text").write_text("hello")
        assert "is no backup of COS" in living("verify", str(tmp_path / "text")).sentence
        assert living("restore", str(tmp_path / "text"), "--data-dir", str(tmp_path / "x")).code == 23
        assert living("verify", str(tmp_path / "nowhere")).code == 4
        assert living("backup", str(tmp_path / "b"), "--data-dir", str(tmp_path / "x")).code == 4
        assert not (tmp_path / "b").exists()


class TestExport:
    """Out and in again, through the commands."""

    def test_file_and_standard_output(self, living, tmp_path) -> None:
        """The same bytes; brought in again nothing is new; an API is refused."""
        living("log", "export.me", "--data", '{"a":  1}')
        path = tmp_path / "a.jsonl"
        done = json.loads(living("export", "events", str(path), "--json").out)
        assert living("export", "events", "-").out == path.read_text()
        assert '"data":{"a":  1}' in path.read_text()
        again = json.loads(living("import", "events", str(path), "--json").out)
        assert (again["recorded"], again["duplicates"]) == (0, done["events"])
        from_input = living("import", "events", "-", stdin=path.read_bytes())
        assert from_input.out.startswith(f"{done['events']} events: 0 new")
        assert (
            "not through an API"
            in living("import", "events", str(path), "--api", "http://127.0.0.1:1").sentence
        )
        assert "There is already a file" in living("export", "events", str(path)).sentence

    def test_one_module(self, living, tmp_path) -> None:
        living("log", "t", "--module", "only.this")
        said = living("export", "events", str(tmp_path / "a"), "-m", "only.this").out
        assert said.startswith(f"1 events are in {tmp_path / 'a'}; ")
