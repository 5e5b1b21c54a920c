"""One thing that makes a suite prove less, with the line that does it."""

from __future__ import annotations

from dataclasses import dataclass

from cos.green.lease import matches

KINDS = {
    "skip": "a test is skipped",
    "xfail": "a test is expected to fail",
    "deleted-test": "a test is gone",
    "emptied-test": "a test checks nothing",
    "removed-assert": "an assertion is gone",
    "changed-assert": "an assertion says something else",
    "loosened": "a number of an assertion is another",
    "conditional-assert": "an assertion is made only sometimes",
    "removed-cases": "a test has fewer cases",
    "rerun": "a test may fail and run again",
    "mock": "the project's own code is replaced in a test",
    "broad-except": "errors of all kinds are caught",
    "deselected": "tests are left out",
    "hook": "pytest's own course is changed",
    "changed-options": "options of pytest or a bound are changed",
    "changed-data": "what tests compare with is changed",
    "detects-tests": "the product asks whether it is under test",
    "always-equal": "a comparison has a fixed answer",
    "ends-the-run": "a test can end the run",
}


@dataclass(frozen=True, slots=True)
class Weakening:
    """`kind` is one of KINDS; `line` counts from 1."""

    kind: str
    path: str
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {KINDS[self.kind]} ({self.kind}): {self.text}"

    def granted(self, grants: tuple[str, ...]) -> bool:
        """Say whether one of the grants, `kind` or `kind:glob`, allows it."""
        for grant in grants:
            kind, _, glob = grant.partition(":")
            if kind == self.kind and (not glob or matches(glob, self.path)):
                return True
        return False
