"""The project's own rules: categories of its own come first, and a bad value is named."""

from __future__ import annotations

import pytest

from cos.green.cause import Cause
from cos.green.errors import BadRules
from cos.green.rules import Rules, load_rules


def cause(kind: str, pattern: str, **more) -> Cause:
    return Cause(key=(kind, pattern), kind=kind, name=pattern, pattern=pattern, confidence=1, why="", **more)


def test_a_project_without_rules_has_the_defaults(tmp_path) -> None:
    assert load_rules(tmp_path) == Rules()


@pytest.mark.parametrize(
    ("kind", "pattern", "category"),
    [
        ("other", "attached to a different loop", "event loop"),
        ("missing-module", "No module named 'x'", "imports"),
        ("missing-fixture", "fixture 'db' not found", "fixtures"),
        ("assertion", "assert # == #", "assertion"),
        ("other", "something new", "other"),
    ],
)
def test_the_built_in_categories(kind, pattern, category) -> None:
    found = cause(kind, pattern)
    Rules().sort_in(found)
    assert found.category == category


def test_a_projects_category_wins_and_may_match_files(tmp_path) -> None:
    (tmp_path / "pyproject.toml").write_text(
        '[[tool.cos.green.category]]\nname = "billing"\nmatch = "app/billing"\npriority = 1\n'
    )
    found = cause("assertion", "assert # == #", files=["app/billing/tax.py"])
    load_rules(tmp_path).sort_in(found)
    assert (found.category, found.priority) == ("billing", 1)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[tool.cos.green]\nsharde = []\n", "sharde"),
        ("[tool.cos.green]\nshared = 'x'\n", "shared"),
        ("[tool.cos.green]\nshared = [1]\n", "shared"),
        ("[tool.cos.green]\npython = 3\n", "python"),
        ("[tool.cos]\ngreen = 3\n", "must be a table"),
        ("[tool.cos.green]\ncategory = 3\n", "category"),
        ("[[tool.cos.green.category]]\nname = 'a'\n", "match"),
        ("[[tool.cos.green.category]]\nname = 'a'\nmatch = '('\n", "'a'"),
        ("[[tool.cos.green.category]]\nname = 'a'\nmatch = 'b'\npriority = 10\n", "10"),
        ("not toml", "TOML"),
    ],
)
def test_a_bad_value_is_named(tmp_path, text, named) -> None:
    (tmp_path / "pyproject.toml").write_text(text)
    with pytest.raises(BadRules, match=named):
        load_rules(tmp_path)
