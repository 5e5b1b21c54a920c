"""Natures of failures, and the search for the test that pollutes."""

from __future__ import annotations

import json

import pytest

from cos.testing.flakes import smallest
from cos.testing.rerun import OutOfRuns

STATE = "names = set()\n"
FIRST = """
    import pathlib, state
    def test_a(): pass
    def test_pollutes(): state.names.add("x")
    def test_b(): pass
"""
SECOND = """
    import pathlib, pytest, state
    def test_depends(): assert "x" not in state.names
    def test_always(): assert False
    def test_now_and_then():
        count = pathlib.Path(__file__).with_name("count")
        count.write_text(count.read_text() + "x" if count.exists() else "x")
        assert len(count.read_text()) % 2 == 0
    @pytest.mark.xfail
    def test_expected(): assert False
"""


@pytest.fixture
def run(pytester, monkeypatch):
    """Run the two modules."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    pytester.makepyfile(test_one=FIRST, test_two=SECOND, state=STATE)
    return lambda *args: pytester.runpytest_subprocess("-p", "cos.testing.plugin", *args, timeout=120)


class TestNatures:
    """`--cos-flakes`."""

    def test_each_failure_is_told(self, run, pytester) -> None:
        """Failures stay failures; each has its nature, in the terminal and in the report."""
        result = run("--cos-flakes", "--cos-report=r.jsonl", "test_one.py", "test_two.py")
        result.assert_outcomes(passed=3, failed=3, xfailed=1)
        lines = [json.loads(line) for line in (pytester.path / "r.jsonl").read_text().splitlines()]
        natures = {one["nature"]["test"]: one["nature"] for one in lines if "nature" in one}
        assert {name: (one["nature"], one["polluters"]) for name, one in natures.items()} == {
            "test_two.py::test_depends": ("order-dependent", ["test_one.py::test_pollutes"]),
            "test_two.py::test_always": ("deterministic", []),
            "test_two.py::test_now_and_then": ("flaky", []),
        }
        told = (
            "ORDER-DEPENDENT *::test_depends - it passes alone and fails behind test_one.py::test_pollutes *"
        )
        result.stdout.fnmatch_lines(["*nature of the failures*", told])

    def test_with_workers(self, run) -> None:
        """What ran before a test is what its own worker ran."""
        result = run("--cos-flakes", "-k", "depends or pollutes", "-p", "xdist.plugin", "-n1")
        assert "it passes alone and fails behind test_one.py::test_pollutes (" in result.stdout.str()

    def test_the_budget_is_kept(self, run) -> None:
        """What could not be run again is said to be unknown."""
        result = run("--cos-flakes", "--cos-reruns=1", "-k", "always or depends or pollutes")
        assert "UNKNOWN test_two.py::test_always - there were no processes left" in result.stdout.str()


class TestBisect:
    """`--cos-bisect`."""

    def test_the_polluter_is_named(self, run) -> None:
        result = run("--cos-bisect=test_two.py::test_depends")
        told = (
            "ORDER-DEPENDENT *::test_depends - it passes alone and fails behind test_one.py::test_pollutes (*"
        )
        result.stdout.fnmatch_lines([told])
        assert result.ret == pytest.ExitCode.TESTS_FAILED

    def test_no_such_test(self, run) -> None:
        result = run("--cos-bisect=test_two.py::test_nothing")
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        assert "There is no test 'test_two.py::test_nothing' in this run" in result.stderr.str()


class TestSmallest:
    """The search itself."""

    @pytest.mark.parametrize("enough", [{3}, {0, 19}, {4, 5, 17}, set(range(20))])
    def test_it_finds_what_is_needed_and_no_more(self, enough) -> None:
        runs = []

        def fails(part) -> bool:
            runs.append(part)
            return enough <= set(part)

        assert smallest(list(range(20)), fails) == (sorted(enough), True)
        assert len(runs) < 250

    def test_it_ends_with_its_budget(self) -> None:
        """What was known so far is given."""
        left = iter(range(2))

        def fails(part) -> bool:
            if next(left, None) is None:
                raise OutOfRuns
            return 7 in part

        found, sure = smallest(list(range(20)), fails)
        assert not sure
        assert 7 in found
        assert len(found) < 20
