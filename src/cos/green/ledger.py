"""The ledger of what a change does to the tests' power to prove: every changed file, read as code or as options."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cos.green.layout import side_of
from cos.green.ledger_options import compare_options
from cos.green.ledger_python import compare
from cos.green.weakening import Weakening

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cos.green.repo import Repo


def weakenings(repo: Repo, base: str, tip: str, owned: Iterable[str]) -> list[Weakening]:
    """Compare two commits.

    A test that moved to another file counts as deleted: that it checks as much there is for a person to say.

    Args:
        repo: of both.
        base: the commit before.
        tip: the commit after.
        owned: names of the packages that are the project's own; replacing them in tests proves nothing.

    Returns:
        What weakens, by file and line.
    """
    names = frozenset(owned)
    found: list[Weakening] = []
    for letter, path in repo.changed(base, tip):
        before = None if letter == "A" else repo.show(base, path)
        after = None if letter == "D" else repo.show(tip, path)
        found += compare_options(path, before, after)
        if path.endswith(".py"):
            found += compare(path, before, after, test=side_of(path) != "product", owned=names)
    return found
