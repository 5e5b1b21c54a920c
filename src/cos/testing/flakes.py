"""Says of each failure whether it is deterministic, flaky or order-dependent, and finds the test that pollutes.

Off by default: `--cos-flakes` (or the ini setting `cos_flakes`) runs failed tests again in processes of their own when
the run is over, and tells what that showed; a failure stays one. `--cos-bisect TEST` runs nothing else and looks which
of the tests before TEST make it fail.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pytest

from cos.testing import stopwatch
from cos.testing.rerun import OutOfRuns, Reruns
from cos.testing.results import worker_of

BUDGET = 60
_ALONE = 3
_BEHIND = 2
_FAILED = ("failed", "error")

DETERMINISTIC = "deterministic"
FLAKY = "flaky"
ORDER_DEPENDENT = "order-dependent"
UNSEEN = "not seen again"
UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Nature:
    """What reruns showed of a failed test.

    Attributes:
        test: node id.
        nature: `deterministic` (it fails alone), `flaky` (the same run ends now so, now so), `order-dependent` (it
            passes alone and fails behind others), `not seen again` (no rerun failed: flaky, or something outside) or
            `unknown` (the runs that were allowed did not tell).
        polluters: the tests that are enough to make it fail, when it depends on the order and they were found.
        runs: how many processes that took.
        told: the same as a sentence.
    """

    test: str
    nature: str
    polluters: tuple[str, ...] = ()
    runs: int = 0
    told: str = ""


def classify(test: str, before: Sequence[str], reruns: Reruns) -> Nature:
    """Run a failed test alone, again, and behind the tests that came before it.

    Args:
        test: node id.
        before: what ran before it in the same process, in that order.
        reruns: how to run them.
    """
    spent = reruns.spent
    polluters: Sequence[str] = ()

    def fails(behind: Sequence[str] = ()) -> bool | None:
        outcome = reruns.outcomes([*behind, test]).get(test)
        return None if outcome is None else outcome in _FAILED

    try:
        kind, told, enough = _look(before, fails)
        if enough:
            polluters, sure = smallest(before, lambda behind: bool(fails(behind)))
            count = f"these {len(polluters)} tests: " if not sure else ""
            told = f"it passes alone and fails behind {count}{' and '.join(polluters)}"
    except OutOfRuns:
        kind, told = UNKNOWN, "there were no processes left to run it again"
    return Nature(test=test, nature=kind, polluters=tuple(polluters), runs=reruns.spent - spent, told=told)


def _look(before: Sequence[str], fails: Callable[..., bool | None]) -> tuple[str, str, bool]:
    """Give the nature, its sentence, and whether what ran before is enough to make the test fail."""
    alone = [fails()]
    if alone == [None]:
        return UNKNOWN, "it did not run alone", False
    if alone == [True]:
        return DETERMINISTIC, "it fails alone, too", False
    alone += [fails() for _ in range(_ALONE - 1)]
    if any(alone):
        return FLAKY, f"alone it failed {sum(map(bool, alone))} times of {_ALONE}", False
    behind = [fails(before) for _ in range(_BEHIND)] if before else []
    if behind and all(behind):
        return ORDER_DEPENDENT, "", True
    if any(behind):
        return FLAKY, "alone it passes, behind the same tests it ends now so, now so", False
    return UNSEEN, "it failed neither alone nor behind the tests before it", False


def smallest(before: Sequence[str], fails: Callable[[Sequence[str]], bool]) -> tuple[list[str], bool]:
    """Find few tests that are enough to make another fail: halves first, then ever smaller parts left out.

    Args:
        before: tests that are known to be enough.
        fails: runs some of them, in order, and says whether the test fails behind them.

    Returns:
        The tests, and whether none of them can be spared (else the budget ended the search).
    """
    kept = list(before)
    parts = 2
    try:
        while len(kept) > 1:
            size = -(-len(kept) // parts)
            chunks = [kept[at : at + size] for at in range(0, len(kept), size)]
            rests = [[one for one in kept if one not in chunk] for chunk in chunks] if len(chunks) > 2 else []  # noqa: PLR2004
            found = next((part for part in (*reversed(chunks), *rests) if fails(part)), None)
            if found is not None:
                parts = 2 if found in chunks else max(2, parts - 1)
                kept = found
            elif parts >= len(kept):
                break
            else:
                parts = min(len(kept), 2 * parts)
    except OutOfRuns:
        return kept, False
    return kept, True


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--cos-flakes`, `--cos-bisect` and how much they may cost."""
    group = parser.getgroup("cos")
    group.addoption(
        "--cos-flakes", action="store_true", help="run failures again and say of what nature they are"
    )
    group.addoption("--cos-bisect", metavar="TEST", help="find the tests before TEST that make it fail")
    group.addoption(
        "--cos-reruns", metavar="N", type=int, help=f"most processes for that (default: {BUDGET})"
    )
    parser.addini(
        "cos_flakes", "Run failures again and say of what nature they are.", type="bool", default=False
    )


def pytest_configure(config: pytest.Config) -> None:
    """Take part where it is asked for, in the controller alone, and never in a rerun."""
    if hasattr(config, "workerinput") or config.getoption("cos_select"):
        return
    budget = config.getoption("cos_reruns")
    if budget is not None and budget < 1:
        raise pytest.UsageError(f"--cos-reruns is {budget}: give the number of processes, at least 1.")
    if config.getoption("cos_bisect"):
        config.pluginmanager.register(Bisect(config, budget or BUDGET), "cos-bisect")
    elif config.getoption("cos_flakes") or config.getini("cos_flakes"):
        config.pluginmanager.register(Flakes(config, budget or BUDGET), "cos-flakes")


class Flakes:
    """Notes what ran in which order and what failed, and runs that again at the end."""

    def __init__(self, config: pytest.Config, budget: int) -> None:
        self._config = config
        self._budget = budget
        self._began = stopwatch.seconds()
        self._order: dict[str, list[str]] = {}
        self._failed: dict[str, str] = {}
        self.natures: list[Nature] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note the order in each process, and failures."""
        worker = worker_of(report)
        if report.when == "setup":
            self._order.setdefault(worker, []).append(report.nodeid)
        if report.failed:
            self._failed.setdefault(report.nodeid, worker)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self) -> None:
        """Run the failures again, and tell of each in the report."""
        if not self._failed:
            return
        reruns = Reruns(self._config, budget=self._budget, took_s=stopwatch.seconds() - self._began)
        reporter = self._config.pluginmanager.get_plugin("terminalreporter")
        if reporter is not None:
            reporter.ensure_newline()
            reporter.write_line(
                f"cos: running {len(self._failed)} failures again, in at most {self._budget} processes"
            )
        report: Any = self._config.pluginmanager.get_plugin("cos-report")
        for test, worker in self._failed.items():
            order = self._order.get(worker, [])
            before = order[: order.index(test)] if test in order else []
            nature = classify(test, before, reruns)
            self.natures.append(nature)
            if report is not None:
                report.write({"nature": asdict(nature)})

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Say it."""
        if self.natures:
            terminalreporter.section("nature of the failures")
        for one in self.natures:
            terminalreporter.write_line(f"{one.nature.upper()} {one.test} - {one.told} ({one.runs} runs)")


class Bisect:
    """Instead of running the tests, looks which of them make one of them fail."""

    def __init__(self, config: pytest.Config, budget: int) -> None:
        self._config = config
        self._budget = budget
        self._found: Nature | None = None

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Search, in the order of the collection.

        Raises:
            pytest.UsageError: the test is not among the collected ones.
        """
        test = self._config.getoption("cos_bisect")
        order = [item.nodeid for item in session.items]
        if test not in order:
            raise pytest.UsageError(
                f"There is no test {test!r} in this run: give its whole node id to --cos-bisect."
            )
        reruns = Reruns(self._config, budget=self._budget, took_s=0.0)
        self._found = classify(test, order[: order.index(test)], reruns)
        session.testsfailed = int(self._found.nature != UNSEEN)
        return True

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Say what was found."""
        one = self._found
        if one is None:
            return
        terminalreporter.section("bisect")
        terminalreporter.write_line(f"{one.nature.upper()} {one.test} - {one.told} ({one.runs} runs)")
