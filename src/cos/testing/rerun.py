"""Runs chosen tests again in a fresh process of pytest, with the options of the run that asks."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest

_LEAST_TIMEOUT_S = 120.0
_LONGER = 5


class OutOfRuns(Exception):
    """No more processes may be started."""


class Reruns:
    """Starts processes of pytest, at most as many as it may."""

    def __init__(self, config: pytest.Config, *, budget: int, took_s: float) -> None:
        """Set out.

        Args:
            config: of the run that asks; its options are given on, its choice of tests and its records are not.
            budget: how many processes may be started.
            took_s: how long the whole run took; a rerun may take five times as long, and two minutes at least.
        """
        self._config = config
        self.left = budget
        self.spent = 0
        self._timeout_s = max(_LEAST_TIMEOUT_S, took_s * _LONGER)

    def outcomes(self, tests: Sequence[str]) -> dict[str, str]:
        """Run these tests in this order.

        Returns:
            For each that ran `passed`, `failed`, `error`, `skipped`, `xfailed` or `xpassed`, the worst of its phases.

        Raises:
            OutOfRuns: the budget is spent.
        """
        if self.left <= 0:
            raise OutOfRuns
        self.left -= 1
        self.spent += 1
        with tempfile.TemporaryDirectory(prefix="cos-rerun-") as folder:
            wanted, report = Path(folder, "tests.json"), Path(folder, "report.jsonl")
            wanted.write_text(json.dumps(list(tests)), encoding="utf-8")
            try:
                subprocess.run(  # noqa: S603  (pytest itself, with the options that it was given)
                    self._command(tests, wanted, report),
                    cwd=self._config.invocation_params.dir,
                    stdin=subprocess.DEVNULL,
                    capture_output=True,
                    timeout=self._timeout_s,
                    check=False,
                )
            except subprocess.TimeoutExpired:
                return dict.fromkeys(tests[-1:], "failed")
            return _read(report)

    def _command(self, tests: Sequence[str], wanted: Path, report: Path) -> list[str]:
        config = self._config
        options = [str(one) for one in config.invocation_params.args]
        for place in reversed(getattr(config.option, "file_or_dir", None) or []):
            for at in range(len(options) - 1, -1, -1):
                if options[at] == place:
                    del options[at]
                    break
        options += (
            ["-n0"] if hasattr(config.option, "numprocesses") else []
        )  # of xdist: one process, one order
        options += ["--no-cov"] if hasattr(config.option, "no_cov") else []
        options += ["--maxfail=0", "--cos-order=given", f"--cos-select={wanted}", f"--cos-report={report}"]
        files = dict.fromkeys(str(config.rootpath / test.partition("::")[0]) for test in tests)
        return [sys.executable, "-m", "pytest", *options, *files]


_WORST = ("passed", "skipped", "xfailed", "xpassed", "failed", "error")


def _read(report: Path) -> dict[str, str]:
    outcomes: dict[str, str] = {}
    if not report.exists():
        return outcomes
    for line in report.read_text(encoding="utf-8").splitlines():
        try:
            item = json.loads(line)
        except ValueError:  # cut off: the process was killed
            break
        test, outcome = item.get("test"), item.get("outcome")
        if test and _WORST.index(outcome) >= _WORST.index(outcomes.get(test, "passed")):
            outcomes[test] = outcome
    return outcomes
