"""Decisions are kept the way the first of them says, and the second names every dependency."""

from __future__ import annotations

import re
import tomllib

import pytest

PARTS = ("**Context.**", "**Decision.**", "**Consequences.**", "**Enforced by**")
HALF_A_PAGE = 45


def faults_of(name: str, text: str) -> list[str]:
    """Give what is wrong with a record."""
    places = [text.find(part) for part in PARTS]
    found = [f"no {part}" for part, place in zip(PARTS, places, strict=True) if place < 0]
    if not found and places != sorted(places):
        found.append("the parts are out of order")
    if not text.startswith(f"# {int(name[:4])}. "):
        found.append("the heading does not begin with its number")
    if len(text.splitlines()) > HALF_A_PAGE:
        found.append("longer than half a page")
    return found


def test_each_has_the_four_parts(root) -> None:
    """Context, decision, consequences and what enforces it, in this order, on half a page."""
    records = sorted((root / "docs/decisions").glob("*.md"))
    assert {one.name: faults for one in records if (faults := faults_of(one.name, one.read_text()))} == {}


def test_each_number_is_given_once(root) -> None:
    numbers = [one.name[:4] for one in (root / "docs/decisions").glob("*.md")]
    assert sorted(numbers) == sorted(set(numbers))


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("# 1. A\n**Context.** **Decision.** **Consequences.**", "no **Enforced by**"),
        (
            "# 1. A\n**Decision.** **Context.** **Consequences.** **Enforced by**",
            "the parts are out of order",
        ),
        (
            "# 2. A\n**Context.** **Decision.** **Consequences.** **Enforced by**",
            "the heading does not begin",
        ),
        ("# 1. A\n**Context.** **Decision.** **Consequences.** **Enforced by**" + "\n" * 50, "longer than"),
    ],
)
def test_a_bad_record_is_found(text, fault) -> None:
    assert [found for found in faults_of("0001-a.md", text) if found.startswith(fault)] != []


def test_every_dependency_has_its_reason(root) -> None:
    """The table names what pyproject.toml asks for, each with a reason, and nothing else."""
    asked = tomllib.loads((root / "pyproject.toml").read_text())["project"]["dependencies"]
    text = (root / "docs/decisions/0002-dependencies.md").read_text()
    told = dict(re.findall(r"^\| (\w[\w-]*) \| (.+) \|$", text, re.MULTILINE))
    del told["package"]
    assert sorted(told) == sorted(re.match(r"[\w-]+", one)[0] for one in asked)
    assert [name for name, reason in told.items() if len(reason.split()) < 3] == []
