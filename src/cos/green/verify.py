"""Proof of a mission, made outside the agent: what it changed, what it weakened, and its tests run again and again."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cos.green.ledger import weakenings
from cos.green.suite import Suite, Task

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from cos.green.failure import Run
    from cos.green.imports import Imports
    from cos.green.mission import Mission
    from cos.green.repo import Repo

_TIMES = 3
_NAMED = 5
GOOD = frozenset({"passed", "xpassed"})


@dataclass(slots=True)
class Verdict:
    """Whether a mission's work holds, why not, and what was seen."""

    reasons: list[str] = field(default_factory=list)
    evidence: dict[str, Any] = field(default_factory=dict)
    wanted: list[str] = field(default_factory=list)

    @property
    def good(self) -> bool:
        """Whether nothing speaks against it."""
        return not self.reasons


@dataclass(frozen=True, slots=True)
class Verifier:
    """Verifies missions of one run; `suite_in` gives the suite in a folder, with the mission's own services."""

    repo: Repo
    imports: Imports
    owned: tuple[str, ...]
    suite_in: Callable[[Path, str], Suite]

    def verify(self, mission: Mission, base: str, tip: str, worktree: Path) -> Verdict:
        """Judge a mission's work as far as it can be judged by itself.

        What is good so far goes to the merge queue, where it is run in a fresh checkout before anything moves.

        Args:
            mission: what was asked.
            base: the commit that its branch began at.
            tip: the commit of its work.
            worktree: the agent's own folder, for the three runs in random order.

        Returns:
            The verdict; the first stage that fails ends it, since later ones would only repeat it.
        """
        verdict = Verdict()
        changed = self.repo.changed(base, tip)
        verdict.evidence["changed"] = [path for _, path in changed]
        if not changed:
            verdict.reasons.append("nothing was changed")
            return verdict
        self._lease(mission, [path for _, path in changed], verdict)
        owned = self.owned or tuple(sorted(self.imports.packages))
        ledger = [
            one
            for one in weakenings(self.repo, base, tip, owned)
            if not one.granted(mission.granted_weakening)
        ]
        verdict.evidence["weakened"] = [str(one) for one in ledger]
        verdict.reasons += [str(one) for one in ledger]
        if verdict.good:
            self._prove(mission, worktree, verdict)
        return verdict

    def _lease(self, mission: Mission, changed: list[str], verdict: Verdict) -> None:
        outside = [path for path in changed if not mission.lease.allows(path)]
        verdict.wanted = outside
        verdict.evidence["outside"] = outside
        verdict.reasons += [f"{path} was changed outside of the lease" for path in outside]

    def _prove(self, mission: Mission, worktree: Path, verdict: Verdict) -> None:
        orders = [Task(mission.targets, shuffle=f"{mission.id}-{at}") for at in range(_TIMES)]
        runs = self.suite_in(worktree, mission.id).run_each(orders)
        verdict.evidence["runs"] = [summary(run) for run in runs]
        for at, run in enumerate(runs, 1):
            if bad := missed(run, mission.targets):
                verdict.reasons.append(
                    f"{len(bad)} of {len(mission.targets)} target tests do not pass in run {at} in random order: "
                    f"{_named(bad)}"
                )
                return


def _named(tests: list[str]) -> str:
    return ", ".join(tests[:_NAMED]) + (f" and {len(tests) - _NAMED} more" if len(tests) > _NAMED else "")


def affected(imports: Imports, changed: Iterable[str], targets: Iterable[str]) -> set[str] | None:
    """Give the test files that a change can affect, the targets' among them; None for the whole suite."""
    files = imports.tests_of(changed)
    return None if files is None else files | {target.partition("::")[0] for target in targets}


def regressions(run: Run, before: dict[str, str], suite: Suite, only: set[str] | None = None) -> list[str]:
    """Give tests that passed before and do not now, and still do not when they are run once more.

    Args:
        run: the tests now.
        before: outcomes before.
        suite: to run them once more, alone among themselves.
        only: files that were run; None for all.
    """
    lost = [
        test
        for test, outcome in before.items()
        if outcome in GOOD
        and (only is None or test.partition("::")[0] in only)
        and run.outcomes.get(test) not in GOOD
    ]
    there = [test for test in lost if test in run.outcomes]
    if not there:
        return lost
    again = suite.run(Task(tuple(there)))
    return [test for test in lost if again.outcomes.get(test) not in GOOD]


def missed(run: Run, targets: tuple[str, ...]) -> list[str]:
    """Give the targets that did not pass: a file as target has to collect and to hold a test that ran."""
    bad = []
    for target in targets:
        if "::" in target:
            if run.outcomes.get(target) not in GOOD:
                bad.append(target)
        elif target in run.failing or not any(test.startswith(target + "::") for test in run.outcomes):
            bad.append(target)
    return bad


def summary(run: Run) -> dict[str, Any]:
    """Give a run's counts as JSON can hold them."""
    return {
        "tests": run.total or 0,
        "passed": run.passed or 0,
        "failing": len(run.failing),
        "skipped": run.skipped,
        "xfailed": run.xfailed,
        "duration_s": round(run.duration_s, 3),
    }


def counts_of(run: Run) -> dict[str, Any]:
    """Give what the history keeps of a run of the whole suite."""
    slow = Counter(run.durations).most_common(10)
    return {
        **summary(run),
        "failing_tests": sorted(run.failing)[:2000],
        "slowest": [[test, round(seconds, 3)] for test, seconds in slow],
    }
