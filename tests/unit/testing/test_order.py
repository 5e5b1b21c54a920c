"""Random order: the same seed gives the same order, in one process and in many."""

from __future__ import annotations

import json
import re
from itertools import pairwise

import pytest

MODULE = """
    import pytest
    class TestA:
        def test_1(self): pass
        def test_2(self): pass
        def test_3(self): pass
    class TestB:
        def test_1(self): pass
        def test_2(self): pass
    def test_plain(): pass
    @pytest.mark.parametrize("n", range(4))
    def test_n(n): pass
"""


@pytest.fixture
def run(pytester, monkeypatch):
    """Run two modules and give the result and the order of the tests."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    pytester.makepyfile(test_one=MODULE, test_two=MODULE)

    def run(*args):
        result = pytester.runpytest_subprocess("-p", "cos.testing.plugin", "-v", *args, timeout=60)
        return result, re.findall(r"^(test_\S+::\S+) PASSED", result.stdout.str(), re.MULTILINE)

    return run


class TestRandomOrder:
    """`--cos-order random`."""

    def test_the_seed_is_printed_and_repeats(self, run) -> None:
        """Another order than given, the same again by the seed; modules and classes stay together."""
        _, given = run()
        result, drawn = run("--cos-order=random")
        seed = re.search(r"--cos-order (random:\d+)", result.stdout.str())[1]
        _, again = run(f"--cos-order={seed}")
        assert sorted(given) == sorted(drawn)
        assert given != drawn == again
        for depth in (1, 2):
            groups = [test.rsplit("::", 2)[:depth] for test in drawn if test.count("::") >= depth]
            files = [group[0] for group in groups]
            assert sum(a != b for a, b in pairwise(files)) <= 1

    def test_workers_agree(self, run) -> None:
        """Xdist refuses workers that collected in different orders."""
        result, _ = run("--cos-order=random", "-p", "xdist.plugin", "-n2")
        result.assert_outcomes(passed=20)

    @pytest.mark.parametrize("order", ["alphabetic", "random:x", "random:-1", "random:99999999999"])
    def test_no_such_order(self, run, order) -> None:
        result, _ = run(f"--cos-order={order}")
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        assert f"The order '{order}' is none: give given, random" in result.stderr.str()


class TestSelect:
    """The list that a rerun is given."""

    def test_exactly_these_in_this_order(self, run, pytester) -> None:
        chosen = ["test_two.py::TestB::test_2", "test_one.py::test_n[3]", "test_one.py::TestA::test_1"]
        (pytester.path / "list.json").write_text(json.dumps(chosen))
        _, order = run("--cos-select=list.json", "--cos-order=random")
        assert order == chosen

    def test_no_list(self, run, pytester) -> None:
        (pytester.path / "list.json").write_text("{}")
        result, _ = run("--cos-select=list.json")
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        assert "is no JSON list of node ids" in result.stderr.str()
