"""Finds the function to blame for failed assertions: the one that failing tests execute and passing tests do not."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_LEAST = 0.25


def blame(
    failing: Mapping[str, frozenset[str]], passing: Mapping[str, frozenset[str]], least: float = _LEAST
) -> dict[str, str]:
    """Explain failing tests by as few functions as possible, the most suspicious first.

    A function is as suspicious as the share of failing tests among those that execute it.

    Args:
        failing: for each failing test the functions that it executed, as `file::name`.
        passing: the same for passing tests.
        least: least suspicion of a function that is blamed, 0 to 1.

    Returns:
        For each explained test the function to blame.
    """
    passed: dict[str, int] = {}
    for functions in passing.values():
        for function in functions:
            passed[function] = passed.get(function, 0) + 1
    left = dict(failing)
    blamed: dict[str, str] = {}
    while left:
        counts: dict[str, int] = {}
        for functions in left.values():
            for function in functions:
                counts[function] = counts.get(function, 0) + 1
        best = max(
            ((count / (count + passed.get(name, 0)), count, name) for name, count in counts.items()),
            default=(0.0, 0, ""),
        )
        if best[0] < least:
            break
        for test in [test for test, functions in left.items() if best[2] in functions]:
            blamed[test] = best[2]
            del left[test]
    return blamed
