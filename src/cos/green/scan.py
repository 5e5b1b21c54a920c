"""`cos green scan`: from a run, made now or recorded, to causes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cos.green.classify import Classifier
from cos.green.cluster import find_causes
from cos.green.proposals import propose
from cos.green.rules import Rules

if TYPE_CHECKING:
    from pathlib import Path

    from cos.green.cause import Cause
    from cos.green.failure import Run
    from cos.green.suite import Suite

_BROKEN_SHARE = 0.8
_LEAST_TESTS = 5


@dataclass(slots=True)
class Scan:
    """What a scan found; `notes` are sentences for the person, `natures` what reruns showed of single tests."""

    run: Run
    causes: list[Cause]
    broken: Cause | None = None
    natures: dict[str, str] = field(default_factory=dict)
    polluters: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """Give exactly what `--json` prints: the runs that were read and the causes."""
        run = self.run
        return {
            "runs": [
                {
                    "source": run.source,
                    "tests": run.total,
                    "passed": run.passed,
                    "failing": len(run.failing),
                    "skipped": run.skipped,
                    "xfailed": run.xfailed,
                    "duration_s": round(run.duration_s, 3),
                }
            ],
            "causes": [cause.as_json() for cause in self.causes],
        }


def scan_run(run: Run, root: Path | None, rules: Rules) -> Scan:
    """Sort a run into causes with categories, and see whether its ground itself is broken.

    Args:
        run: made now or recorded.
        root: the project's folder where it is at hand.
        rules: the project's.

    Returns:
        The scan, largest cause first.
    """
    causes = find_causes(run, root)
    for cause in causes:
        rules.sort_in(cause)
    return Scan(run, causes, broken=find_broken(run, causes))


def scan_suite(suite: Suite, rules: Rules, *, reruns: int = 60, trace: bool = True) -> Scan:
    """Run the suite, then tell flaky and order-dependent failures from the others.

    Args:
        suite: how to run it.
        rules: the project's.
        reruns: most processes of pytest that the reruns may take; 0 for none.
        trace: whether to note which functions each test executes, which tells the causes of assertions apart.

    Returns:
        The scan.
    """
    from cos.green.suite import Task  # noqa: PLC0415 - a scan of a file needs no pytest

    run = suite.run(Task(trace=trace))
    run.source = "pytest"
    scan = scan_run(run, suite.root, rules)
    if scan.causes and reruns and scan.broken is None:
        classifier = Classifier(suite, run, budget=reruns)
        scan.natures = classifier.classify(scan.causes)
        scan.polluters = classifier.polluters
    return scan


def find_broken(run: Run, causes: list[Cause]) -> Cause | None:
    """Find the one early error under which more than 80 % of the suite fails; None where tests say more than that."""
    total = run.total or 0
    for cause in causes[:1]:
        files = {failure.file for failure in cause.failures if "::" not in failure.test}
        stopped = run.interrupted and not run.passed and len(causes) == 1
        share = len(cause.tests) / total if total >= _LEAST_TESTS else 0.0
        outside = cause.early or _outside(cause)
        if outside and (share > _BROKEN_SHARE or (stopped and len(files) == len(cause.tests))):
            return cause
    return None


def _outside(cause: Cause) -> bool:
    """Say whether the error is about the world around the tests, whichever phase met it first."""
    return cause.kind in (
        "connection",
        "login",
        "missing-module",
        "disk-full",
        "async-plugin",
        "database-locked",
    )


def ask_for_proposals(scan: Scan, rules: Rules, root: Path, command: str | None = None) -> None:
    """Let the configured language model merge and name; without one nothing happens."""
    chosen = command or rules.llm
    if chosen and scan.causes:
        scan.causes, unused = propose(scan.causes, chosen, root)
        scan.notes += unused
