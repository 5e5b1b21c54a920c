"""The report: what a run writes, and that `cos green` reads it."""

from __future__ import annotations

import json

import pytest

from cos.green.cluster import find_causes
from cos.green.read import read_run

TESTS = """
    import pytest, product
    def test_passes(record_property):
        record_property("cos_fault", {"redis": "kill"})
        record_property("size", 3)
    def test_fails(): product.outer()
    @pytest.fixture
    def broken():
        yield
        raise OSError("the fixture's end")
    def test_ends_badly(broken): assert 1 == 2
    @pytest.mark.skip(reason="later")
    def test_skipped(): pass
    @pytest.mark.xfail(reason="known")
    def test_expected(): assert False
    def test_group():
        raise ExceptionGroup("two", [KeyError("a"), ValueError("b")])
"""
PRODUCT = """
    def inner():
        raise KeyError("no such chapter")
    def outer():
        try:
            inner()
        except KeyError as error:
            raise ValueError("cannot publish") from error
"""


@pytest.fixture
def run(pytester, monkeypatch):
    """Run the project and read its report line by line."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")

    def run(*args, **modules):
        pytester.makepyfile(**({"test_it": TESTS, "product": PRODUCT} | modules))
        result = pytester.runpytest_subprocess(
            "-p", "cos.testing.plugin", "--cos-report", "out/r.jsonl", *args, timeout=60
        )
        path = pytester.path / "out/r.jsonl"
        return result, [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    return run


def by_test(lines):
    return {(line["test"].partition("::")[2], line["outcome"]): line for line in lines if "test" in line}


class TestReport:
    """One line for each result."""

    def test_what_stands_in_it(self, run) -> None:
        """Outcome, phase, the chain from its root with frames, the traceback, durations, faults."""
        result, lines = run()
        found = by_test(lines)
        assert {key: line["phase"] for key, line in found.items()} == {
            ("test_passes", "passed"): "call",
            ("test_fails", "failed"): "call",
            ("test_ends_badly", "failed"): "call",
            ("test_ends_badly", "error"): "teardown",
            ("test_skipped", "skipped"): "setup",
            ("test_expected", "xfailed"): "call",
            ("test_group", "failed"): "call",
        }
        assert found["test_passes", "passed"]["faults"] == [{"redis": "kill"}]
        assert found["test_passes", "passed"]["properties"] == [{"name": "size", "value": 3}]
        assert set(found["test_passes", "passed"]["durations"]) == {"setup", "call", "teardown"}
        failed = found["test_fails", "failed"]
        assert [(one["type"], one["message"], one["link"]) for one in failed["chain"]] == [
            ("KeyError", "'no such chapter'", "cause"),
            ("ValueError", "cannot publish", ""),
        ]
        assert failed["chain"][0]["frames"][-1] == {
            "file": "product.py",
            "line": 2,
            "function": "inner",
            "source": 'raise KeyError("no such chapter")',
        }
        assert "direct cause" in failed["traceback"]
        group = found["test_group", "failed"]["chain"]
        assert [one["message"] for one in group[-1]["members"]] == ["'a'", "b"]
        assert found["test_skipped", "skipped"]["reason"] == "Skipped: later"
        assert found["test_expected", "xfailed"]["reason"] == "known"
        assert lines[-1]["run"]["collected"] == 6
        assert lines[-1]["run"]["exit"] == 1
        result.stdout.fnmatch_lines(["cos: the report is in *r.jsonl"])

    def test_green_reads_it(self, run, pytester) -> None:
        """The orchestrator finds the same tests, outcomes and causes."""
        run()
        read = read_run(pytester.path / "out/r.jsonl")
        assert (read.total, read.passed, read.skipped, read.xfailed) == (6, 1, 1, 1)
        assert read.failing == {
            "test_it.py::test_fails",
            "test_it.py::test_ends_badly",
            "test_it.py::test_group",
        }
        causes = find_causes(read, pytester.path)
        chapter = next(cause for cause in causes if "chapter" in cause.pattern)
        assert chapter.tests == ["test_it.py::test_fails"]

    def test_what_does_not_collect(self, run) -> None:
        """The error of an import stands there with its own frames."""
        _, lines = run(test_it="import product\n", product="import nowhere\n")
        (line,) = (line for line in lines if "test" in line)
        assert (line["test"], line["outcome"], line["phase"]) == ("test_it.py", "error", "collect")
        assert line["chain"][-1]["type"] == "ModuleNotFoundError"
        assert line["chain"][-1]["frames"][-1]["file"] == "product.py"

    def test_with_workers(self, run) -> None:
        """The controller writes all; each line has its worker; a worker that dies loses one test alone."""
        tests = """
            import os
            def test_a(): pass
            def test_b(): assert 0
            def test_dies(): os._exit(3)
            def test_c(): pass
        """
        _, lines = run("-p", "xdist.plugin", "-n1", test_it=tests)
        found = by_test(lines)
        assert found["test_b", "failed"]["worker"] == "gw0"
        assert found["test_b", "failed"]["chain"][0]["type"] == "AssertionError"
        assert found["test_dies", "error"]["chain"][0]["message"].endswith(
            "crashed while running 'test_it.py::test_dies'"
        )
        assert found["test_c", "passed"]["worker"] == "gw1"

    def test_a_path_that_cannot_be(self, run, pytester) -> None:
        """A sentence, not a traceback."""
        (pytester.path / "out").write_text("a file")
        result, _ = run()
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        assert "cannot be written" in result.stderr.str()
        assert "Traceback" not in result.stderr.str()
