"""Logs of pytest in all their shapes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from cos.green.failure import Run
from cos.green.parse_text import parse_text

TESTS = """
import pytest


@pytest.fixture
def broken():
    raise LookupError("no service 'mail'")


@pytest.fixture
def loud():
    yield
    raise OSError("cannot close")


def low(value):
    try:
        return {}[value]
    except KeyError as error:
        raise ValueError(f"no value {value!r}") from error


class TestA:
    @pytest.mark.parametrize("text", ["a - b", "x::y", "[z]", "two words"])
    def test_names(self, text):
        assert text == ""


def test_chain():
    low("k")


def test_setup(broken):
    pass


def test_both(loud):
    print("FAILED tests/other.py::test_x - not one")
    print("____ test_fake ____")
    assert 1 == 2, "first line\\nERROR in the message"


def test_missing(nothing):
    pass
"""


@pytest.fixture(scope="module")
def log_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """Give a function that runs pytest on a file with failures of all kinds and gives its log."""
    root = tmp_path_factory.mktemp("logs")
    (root / "test_a.py").write_text(TESTS)
    (root / "test_b.py").write_text("import not_there\n")

    def run(*options: str) -> str:
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-p",
            "no:cacheprovider",
            "--continue-on-collection-errors",
        ]
        return subprocess.run(
            [*command, *options], cwd=root, capture_output=True, text=True, check=False
        ).stdout

    return run


def chains(run: Run) -> dict[tuple[str, str], list[str]]:
    return {(f.test, f.outcome): [raised.type for raised in f.chain] for f in run.failures}


EXPECTED = {
    ("test_a.py::TestA::test_names[a - b]", "failed"),
    ("test_a.py::TestA::test_names[x::y]", "failed"),
    ("test_a.py::TestA::test_names[[z]]", "failed"),
    ("test_a.py::TestA::test_names[two words]", "failed"),
    ("test_a.py::test_chain", "failed"),
    ("test_a.py::test_both", "failed"),
    ("test_a.py::test_both", "error"),
    ("test_a.py::test_setup", "error"),
    ("test_a.py::test_missing", "error"),
    ("test_b.py", "error"),
}


class TestStyles:
    @pytest.mark.parametrize(
        "options",
        [("--tb=long",), ("--tb=short",), ("--tb=auto",), ("--tb=native",), ("--tb=line",), ("--tb=no",),
         ("-rA", "--color=yes"), ("-n", "1", "-v", "--tb=short")],
        ids=" ".join,
    )  # fmt: skip
    def test_every_failure_is_found_once_with_its_root(
        self, log_of: Callable[..., str], options: tuple[str, ...]
    ) -> None:
        run = parse_text(log_of(*options))

        found = chains(run)
        assert set(found) == EXPECTED
        assert len(run.failures) == len(EXPECTED)
        assert found["test_a.py::test_setup", "error"] == ["LookupError"]
        if "--tb=no" not in options and "--tb=line" not in options:
            assert found["test_a.py::test_chain", "failed"] == ["KeyError", "ValueError"]
            assert found["test_a.py::test_missing", "error"] == ["FixtureLookupError"]
            assert found["test_b.py", "error"][0] == "ModuleNotFoundError"

    def test_the_root_rises_in_its_own_frame(self, log_of: Callable[..., str]) -> None:
        run = parse_text(log_of("--tb=short"))

        chain = next(f.chain for f in run.failures if f.test == "test_a.py::test_chain")
        assert [raised.link for raised in chain] == ["cause", ""]
        assert chain[0].frames[-1].function == "low"
        assert chain[1].message == "no value 'k'"

    def test_phases_and_counts(self, log_of: Callable[..., str]) -> None:
        run = parse_text(log_of("--tb=short"))

        phases = {(f.test, f.outcome): f.phase for f in run.failures}
        assert phases["test_a.py::test_both", "error"] == "teardown"
        assert phases["test_a.py::test_setup", "error"] == "setup"
        assert phases["test_b.py", "error"] == "collect"
        assert (run.total, run.passed) == (9, 0)


class TestSummaries:
    def test_messages_over_several_lines_belong_to_their_test(self) -> None:
        run = parse_text(
            "FAILED tests/a.py::test_x - AssertionError: first\n +  where 1 = f()\nERROR    root:a.py:1 a log line\n"
            "FAILED tests/a.py::test_y\nERROR tests/a b/c.py::TestC::test_z[1-a] - ValueError: v\n"
        )

        assert [f.test for f in run.failures] == [
            "tests/a.py::test_x", "tests/a.py::test_y", "tests/a b/c.py::TestC::test_z[1-a]",
        ]  # fmt: skip
        assert run.failures[0].chain[0].message == "first\n +  where 1 = f()\nERROR    root:a.py:1 a log line"
        assert run.failures[1].chain == ()

    def test_time_stamps_of_a_ci_are_taken_off(self) -> None:
        lines = [
            "=== short test summary info ===",
            "FAILED tests/a.py::test_x - KeyError: 'k'",
            "=== 1 failed in 0.1s ===",
        ]
        text = "".join(f"2026-01-01T00:00:00.1234567Z {line}\n" for line in lines)

        run = parse_text(text)

        assert [(f.test, f.chain[0].type) for f in run.failures] == [("tests/a.py::test_x", "KeyError")]
        assert run.total == 1

    def test_a_log_that_has_no_failure_has_its_counts(self) -> None:
        run = parse_text("=== 12 passed, 2 skipped, 1 xfailed in 0.50s ===\n")

        assert (run.total, run.passed, run.skipped, run.xfailed, run.failures) == (15, 12, 2, 1, [])


def test_groups_give_their_first_member_as_root(tmp_path: Path) -> None:
    (tmp_path / "test_g.py").write_text(
        "def test_g():\n    raise ExceptionGroup('several', [ValueError('one'), TypeError('two')])\n"
    )
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "test_g.py"]
    env = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)

    run = parse_text(done.stdout)

    assert run.failures[0].chain[0].type == "ValueError"
    assert run.failures[0].chain[0].link == "member"
