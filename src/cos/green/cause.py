"""A root cause: failures that one fix would mend."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cos.green.failure import Failure


@dataclass(slots=True)
class Cause:
    """Failures with one root; `files` are the project's, most involved first; `confidence` is between 0 and 1."""

    key: tuple[str, ...]
    kind: str
    name: str
    pattern: str
    confidence: float
    why: str
    failures: list[Failure] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    place: str = ""
    category: str = ""
    priority: int = 0
    nature: str = "unknown"

    @property
    def id(self) -> str:
        """A short name that stays the same from run to run as long as the pattern does."""
        return "C-" + hashlib.sha256("\0".join(self.key).encode()).hexdigest()[:8]

    @property
    def tests(self) -> list[str]:
        """The node ids, each once, in the order of the run."""
        return list(dict.fromkeys(failure.test for failure in self.failures))

    @property
    def early(self) -> bool:
        """Whether every failure came before the test's own body: while collecting or in a fixture."""
        return all(failure.phase in ("setup", "collect") for failure in self.failures)

    @property
    def example(self) -> str:
        """What the first of the failures said."""
        chain = self.failures[0].chain if self.failures else ()
        if not chain:
            return ""
        return f"{chain[-1].type}: {chain[-1].message}" if chain[-1].message else chain[-1].type

    def as_json(self) -> dict[str, Any]:
        """Give what `cos green scan --json` prints of it."""
        return {
            "id": self.id,
            "name": self.name,
            "pattern": self.pattern,
            "confidence": round(self.confidence, 2),
            "tests": self.tests,
            "files": self.files,
        }
