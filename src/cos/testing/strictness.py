"""What the loop check looks for in one test; apart from the check, so that a run without it does not load it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from cos.errors import BadInput

CHECKS = ("conflict", "nested", "tasks", "generators", "connections", "blocking", "import")
BLOCKING_MS = 100.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Strictness:
    """What is looked for in one test.

    Attributes:
        checks: of `CHECKS`.
        blocking_ms: how long one call may keep the loop.
        ignore: a task, generator or call whose name or place contains one of these is let be.
    """

    checks: frozenset[str] = frozenset()
    blocking_ms: float = BLOCKING_MS
    ignore: tuple[str, ...] = ()

    def spares(self, text: str) -> bool:
        """Say whether something told by this text is let be."""
        return any(part in text for part in self.ignore)


OFF = Strictness()


def milliseconds(value: object) -> float:
    """Read a limit in milliseconds.

    Raises:
        BadInput: it is no number above 0.
    """
    try:
        limit = float(str(value))
    except ValueError:
        limit = 0.0
    if not 0 < limit < float("inf"):
        raise BadInput(f"cos_blocking_ms is {value!r}: give milliseconds, more than 0, such as 100.")
    return limit


def strictness_of(
    words: Iterable[str], *, blocking_ms: float = BLOCKING_MS, ignore: Iterable[str] = ()
) -> Strictness:
    """Read what to look for.

    Args:
        words: `strict`, `off` or names of checks.
        blocking_ms: how long one call may keep the loop.
        ignore: parts of names and places that are let be.

    Raises:
        BadInput: names the word that is no check.
    """
    checks: set[str] = set()
    for word in words:
        if word == "strict":
            checks.update(CHECKS)
        elif word == "off":
            checks.clear()
        elif word in CHECKS:
            checks.add(word)
        else:
            raise BadInput(
                f"There is no loop check {word!r}: give strict, off, or some of {', '.join(CHECKS)}."
            )
    return Strictness(checks=frozenset(checks), blocking_ms=blocking_ms, ignore=tuple(ignore))
