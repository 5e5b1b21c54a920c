"""The house rules hold: each is applied to the project, and proven on snippets that break and keep it."""

from __future__ import annotations

import inspect
import runpy
from pathlib import Path

import pytest

FILES = sorted((Path(__file__).parent / "rules").glob("*.py"))
RULES = [rule for file in FILES for rule in runpy.run_path(str(file))["RULES"]]


@pytest.mark.parametrize("rule", RULES)
def test_the_project_keeps_the_rule(rule, broken_by) -> None:
    """No file breaks the rule, and no escape is left over."""
    if found := broken_by(rule):
        way_out = f"To spare a line, end it with: # house: {rule.name} (the reason); a file: see the rule's escapes."
        pytest.fail("\n".join([inspect.getdoc(rule), *found, way_out]), pytrace=False)


@pytest.mark.parametrize("rule", RULES)
def test_the_rule_bites(rule, parse) -> None:
    """Each bad snippet is found."""
    assert [snippet for snippet in rule.bad if not list(rule.find(parse(snippet)))] == []


@pytest.mark.parametrize("rule", RULES)
def test_the_rule_spares_what_is_right(rule, parse) -> None:
    """Each good snippet is left alone."""
    assert [snippet for snippet in rule.good if list(rule.find(parse(snippet)))] == []


class TestEscape:
    """How a line is spared."""

    @pytest.mark.parametrize(
        ("line", "name"),
        [
            ("x = 1  # house: sql (two fixed texts)", "sql"),
            ("x = 1  # noqa: S608  # house: sql (two fixed texts)", "sql"),
            ("x = 1  # house: sql", None),
            ("x = 1  # house: sql ()", None),
            ("x = 1", None),
        ],
    )
    def test_it_needs_a_name_and_a_reason(self, parse, line, name) -> None:
        assert parse(line).escapes(1) == name
