"""Everything that weakens a test is found, with its line; what does not is left alone."""

from __future__ import annotations

import pytest

from cos.green.ledger_options import compare_options
from cos.green.ledger_python import compare
from cos.green.weakening import Weakening

BASE = """import app


def test_a():
    value = app.get()
    assert value == 3
    assert value < 10


def helper(x):
    assert x
"""


def kinds(after: str | None, before: str | None = BASE, *, test: bool = True) -> list[tuple[str, int]]:
    found = compare("tests/test_a.py", before, after, test=test, owned=frozenset({"app"}))
    return [(one.kind, one.line) for one in found]


@pytest.mark.parametrize(
    ("old", "new", "kind", "line"),
    [
        ("def test_a", "@pytest.mark.skip\ndef test_a", "skip", 4),
        ("def test_a", "@pytest.mark.skipif(True, reason='')\ndef test_a", "skip", 4),
        ("    value = app.get()", "    pytest.skip('later')\n    value = app.get()", "skip", 5),
        ("def test_a", "@pytest.mark.xfail\ndef test_a", "xfail", 4),
        ("def test_a", "@pytest.mark.flaky(reruns=3)\ndef test_a", "rerun", 4),
        ("    assert value == 3\n", "", "removed-assert", 4),
        ("    assert value == 3\n    assert value < 10\n", "    pass\n", "emptied-test", 4),
        ("value < 10", "value < 100", "loosened", 7),
        ("value == 3", "value in (3, 4)", "changed-assert", 6),
        ("    assert value == 3", "    if value:\n        assert value == 3", "conditional-assert", 7),
        ("    value = app.get()", "    return\n    value = app.get()", "emptied-test", 5),
        ("    value = app.get()", "    with patch('app.get'):\n        value = app.get()", "mock", 5),
        ("    value = app.get()", "    monkeypatch.setattr(app, 'get', f)\n    value = app.get()", "mock", 5),
        (
            "    value = app.get()",
            "    try:\n        value = app.get()\n    except Exception:\n        pass",
            "broad-except",
            7,
        ),
        (
            "    value = app.get()",
            "    with suppress(AssertionError):\n        value = app.get()",
            "broad-except",
            5,
        ),
        ("import app", "import app\ncollect_ignore = ['x']", "deselected", 2),
        ("import app", "import app\ndef pytest_runtest_makereport(): pass", "hook", 2),
        ("import app", "import app\nimport os\nos._exit(0)", "ends-the-run", 3),
        ("    assert x\n", "    pass\n", "emptied-test", 10),
    ],
)
def test_a_weakening_is_named_with_its_line(old: str, new: str, kind: str, line: int) -> None:
    assert (kind, line) in kinds(BASE.replace(old, new))


def test_a_test_that_is_gone_is_named() -> None:
    assert kinds(None)[0] == ("deleted-test", 4)
    assert ("deleted-test", 4) in kinds(BASE.replace("def test_a", "def check_a"))


def test_cases_that_are_gone_are_named() -> None:
    before = "@pytest.mark.parametrize('x', [1, 2])\ndef test_a(x):\n    assert x\n"

    assert kinds(before.replace("[1, 2]", "[1]"), before) == [("removed-cases", 2)]


@pytest.mark.parametrize(
    "after",
    [
        BASE,
        BASE + "\n\ndef test_b():\n    assert 1\n",
        BASE.replace("    value =", "    # a comment\n    value ="),
        BASE.replace("    assert value == 3", "    assert value == 3\n    assert value"),
    ],
)
def test_what_proves_as_much_or_more_is_left_alone(after: str) -> None:
    assert kinds(after) == []


@pytest.mark.parametrize(
    ("after", "kind"),
    [
        ("import os\nif os.environ.get('PYTEST_CURRENT_TEST'):\n    X = 1\n", "detects-tests"),
        ("import sys\nif 'pytest' in sys.modules:\n    X = 1\n", "detects-tests"),
        ("class A:\n    def __eq__(self, other):\n        return True\n", "always-equal"),
        ("try:\n    X = 1\nexcept:\n    pass\n", "broad-except"),
    ],
)
def test_a_product_that_plays_to_its_tests_is_named(after: str, kind: str) -> None:
    assert [found for found, _ in kinds(after, "X = 0\n", test=False)] == [kind]


@pytest.mark.parametrize(
    ("path", "before", "after", "kind"),
    [
        (
            "pyproject.toml",
            "[tool.pytest.ini_options]\naddopts = ''\n",
            "[tool.pytest.ini_options]\naddopts = '--ignore=a'\n",
            "deselected",
        ),
        ("pytest.ini", "[pytest]\n", "[pytest]\naddopts = --reruns 3\n", "rerun"),
        ("setup.cfg", "[tool:pytest]\nxfail_strict = true\n", "[tool:pytest]\n", "changed-options"),
        ("tox.ini", None, "[pytest]\ntestpaths = other\n", "deselected"),
        (
            "pyproject.toml",
            "[tool.coverage.report]\nfail_under = 90\n",
            "[tool.coverage.report]\nfail_under = 10\n",
            "changed-options",
        ),
        ("tests/expected.json", "{}", "{1}", "changed-data"),
        ("sitecustomize.py", None, "x", "hook"),
    ],
)
def test_changed_options_are_named(path: str, before: str | None, after: str, kind: str) -> None:
    assert [one.kind for one in compare_options(path, before, after)] == [kind]


def test_other_tables_of_a_configuration_are_free() -> None:
    assert compare_options("pyproject.toml", "[project]\nname = 'a'\n", "[project]\nname = 'b'\n") == []


def test_a_grant_allows_a_kind_in_a_place() -> None:
    one = Weakening("skip", "tests/old/test_a.py", 1, "x")

    assert one.granted(("skip:tests/old/**",))
    assert one.granted(("skip",))
    assert not one.granted(("skip:tests/new/**", "xfail"))
