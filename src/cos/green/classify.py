"""Tells deterministic failures from flaky and order-dependent ones by running tests alone and again."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from cos.green.suite import Suite, Task

if TYPE_CHECKING:
    from cos.green.cause import Cause
    from cos.green.failure import Run

_SAMPLE = 3
_AGAIN = 3
_POLLUTER_STEPS = 12


class Classifier:
    """Reruns tests within a budget of processes and says of each cause what nature it has."""

    def __init__(self, suite: Suite, run: Run, *, budget: int = 60) -> None:
        """Set out.

        Args:
            suite: how to run tests.
            run: the first run, in the order that showed the failures.
            budget: how many processes of pytest may be spent in all.
        """
        self.suite = suite
        self.first = run
        self.left = budget
        self.polluters: dict[str, str] = {}

    def classify(self, causes: list[Cause]) -> dict[str, str]:
        """Rerun and set each cause's `nature`.

        Args:
            causes: of the first run.

        Returns:
            For each test that was rerun `deterministic`, `flaky` or `order-dependent`.
        """
        natures: dict[str, str] = {}
        chosen: list[str] = []
        for cause in causes:
            single = [test for test in cause.tests if "::" in test]
            chosen += single[:_SAMPLE]
        chosen = list(dict.fromkeys(chosen))[: self.left]
        alone = self._alone(chosen)
        passing = [test for test in chosen if alone[test] == "passed"]
        if passing:  # where one of a cause passes alone, each of its tests must speak for itself
            more = [
                t
                for cause in causes
                for t in cause.tests
                if set(cause.tests) & set(passing) and t not in alone and "::" in t
            ]
            more = list(dict.fromkeys(more))[: max(0, self.left - len(passing) * _AGAIN)]
            alone.update(self._alone(more))
            passing = [test for test, outcome in alone.items() if outcome == "passed"]
        for test, outcome in alone.items():
            if outcome != "passed":
                natures[test] = "deterministic"
        for test in passing:
            natures[test] = self._nature(test)
        for cause in causes:
            found = Counter(natures[test] for test in cause.tests if test in natures)
            cause.nature = (
                found.most_common(1)[0][0] if found else ("deterministic" if cause.early else "unknown")
            )
        return natures

    def _alone(self, tests: list[str]) -> dict[str, str]:
        self.left -= len(tests)
        runs = self.suite.run_each([Task((test,)) for test in tests])
        return {test: run.outcomes.get(test, "failed") for test, run in zip(tests, runs, strict=True)}

    def _nature(self, test: str) -> str:
        """Passed alone: run it alone again, then behind the tests that came before it."""
        if self.left < _AGAIN:
            return "flaky"
        again = self.suite.run_each([Task((test,))] * (_AGAIN - 1))
        self.left -= len(again)
        if any(run.outcomes.get(test) != "passed" for run in again):
            return "flaky"
        order = self.first.order
        before = order[: order.index(test)] if test in order else []
        if not before or not self._fails_behind(before, test) or not self._fails_behind(before, test):
            return "flaky"
        self._find_polluter(before, test)
        return "order-dependent"

    def _fails_behind(self, before: list[str], test: str) -> bool:
        if self.left <= 0:
            return False
        self.left -= 1
        run = self.suite.run(Task((*before, test)))
        return run.outcomes.get(test) != "passed"

    def _find_polluter(self, before: list[str], test: str) -> None:
        """Halve what runs before until one test is left that is enough to make it fail."""
        for _ in range(_POLLUTER_STEPS):
            if len(before) <= 1:
                break
            half = len(before) // 2
            if self._fails_behind(before[half:], test):
                before = before[half:]
            elif self._fails_behind(before[:half], test):
                before = before[:half]
            else:
                return
        if len(before) == 1:
            self.polluters[test] = before[0]
