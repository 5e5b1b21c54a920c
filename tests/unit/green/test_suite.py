"""Choosing the interpreter, and what a run that has no result is taken for."""

from __future__ import annotations

import sys

import pytest

from cos.green.errors import NoDiskSpace, NoTests, PytestMissing, PythonMissing, SuiteFailed
from cos.green.process import Ended
from cos.green.suite import Suite, Task, find_python


class TestFindPython:
    def test_a_relative_path_counts_from_here(self, tmp_path, monkeypatch) -> None:
        (tmp_path / "venv").mkdir()
        (tmp_path / "venv" / "python").symlink_to(sys.executable)
        monkeypatch.chdir(tmp_path)
        assert find_python(tmp_path / "elsewhere", "venv/python") == str(tmp_path / "venv" / "python")

    def test_or_else_from_the_project(self, tmp_path) -> None:
        (tmp_path / "env").mkdir()
        (tmp_path / "env" / "python").symlink_to(sys.executable)
        assert find_python(tmp_path, "env/python") == str(tmp_path / "env" / "python")

    def test_the_projects_own_environment_comes_before_ours(self, tmp_path) -> None:
        assert find_python(tmp_path) == sys.executable
        (tmp_path / ".venv" / "bin").mkdir(parents=True)
        (tmp_path / ".venv" / "bin" / "python").symlink_to(sys.executable)
        assert find_python(tmp_path) == str(tmp_path / ".venv/bin/python")

    @pytest.mark.parametrize("asked", ["no-such-python", "no/such/python", "."])
    def test_one_that_is_not_there_is_named(self, tmp_path, asked) -> None:
        with pytest.raises(PythonMissing, match="--python"):
            find_python(tmp_path, asked)


class TestWithoutResult:
    @pytest.mark.parametrize(
        ("code", "output", "error"),
        [
            (None, "", SuiteFailed),
            (1, "/usr/bin/python: No module named pytest", PytestMissing),
            (5, "no tests ran in 0.01s", NoTests),
            (4, "ERROR: usage: pytest", SuiteFailed),
            (1, "OSError: [Errno 28] No space left on device", NoDiskSpace),
        ],
    )
    def test_it_says_why(self, tmp_path, code, output, error) -> None:
        suite = Suite(tmp_path, tmp_path, sys.executable)
        ended = Ended(code=code, output=output, took_s=0.1)
        with pytest.raises(error):
            suite.result(Task(), ended, tmp_path / "none.jsonl")
