"""The report: one JSON line for each result of a run, with the exceptions, all frames, seeds, faults and worker.

Off by default: `--cos-report FILE` or the ini setting `cos_report` writes it. `cos green scan --from FILE` reads it.
What a test writes into its user properties under `cos_fault` or `cos_measured` stands in its line as `faults` and
`measured`.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Generator
from pathlib import Path
from typing import IO, Any

import pytest

from cos.testing import stopwatch
from cos.testing.results import SEEDS, outcome_of, worker_of

_NAME = "cos-report"
_CHAIN = "cos_chain"
_PROPERTIES = {"cos_fault": "faults", "cos_measured": "measured"}


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--cos-report` and the setting of the same name."""
    told = "write each result as a JSON line into this file"
    parser.getgroup("cos").addoption("--cos-report", metavar="FILE", help=told)
    parser.addini("cos_report", f"{told.capitalize()}.", default="")


def pytest_configure(config: pytest.Config) -> None:
    """Open the file; the workers of xdist only add what the controller writes."""
    option = config.getoption("cos_report")
    name = config.getini("cos_report") if option is None else option
    if not name:
        return
    if hasattr(config, "workerinput"):
        config.pluginmanager.register(Attachments(str(config.rootpath)), _NAME)
        return
    path = config.invocation_params.dir / name if option else config.rootpath / name
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("w", encoding="utf-8")
    except OSError as error:
        raise pytest.UsageError(
            f"The report {path} cannot be written ({error.strerror}): give --cos-report a path in a folder of yours."
        ) from None
    config.pluginmanager.register(Report(config, path, file), _NAME)


class Attachments:
    """Puts the exceptions on pytest's reports, as plain values: the objects themselves stay in their process."""

    def __init__(self, root: str) -> None:
        self._root = root

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, call: pytest.CallInfo[None]
    ) -> Generator[None, Any, pytest.TestReport]:
        """Attach what a phase raised."""
        from cos.testing.chain import chain_of  # noqa: PLC0415  (loaded when there is something to tell)

        report: pytest.TestReport = yield
        if call.excinfo is not None and report.failed:
            setattr(report, _CHAIN, chain_of(call.excinfo.value, self._root))
        return report

    @pytest.hookimpl(wrapper=True)
    def pytest_make_collect_report(self) -> Generator[None, Any, pytest.CollectReport]:
        """Attach what a module's import raised."""
        from cos.testing.chain import chain_of, inner_of  # noqa: PLC0415

        report: pytest.CollectReport = yield
        call = getattr(report, "call", None)
        if report.failed and call is not None and call.excinfo is not None:
            setattr(report, _CHAIN, chain_of(inner_of(call.excinfo.value), self._root))
        return report


class Report(Attachments):
    """Writes a line when all phases of a test are known, so that a killed run has lost only the test under way."""

    def __init__(self, config: pytest.Config, path: Path, file: IO[str]) -> None:
        super().__init__(str(config.rootpath))
        self._config = config
        self._path = path
        self._file = file
        self._began = stopwatch.seconds()
        self._collected = 0
        self._pending: dict[tuple[str, str], list[pytest.TestReport]] = {}

    def write(self, item: dict[str, Any]) -> None:
        """Write one line at once.

        Raises:
            pytest.UsageError: the disk is full or the file is gone.
        """
        try:
            self._file.write(json.dumps(item, default=str) + "\n")
            self._file.flush()
        except OSError as error:
            raise pytest.UsageError(
                f"The report {self._path} cannot be written ({error.strerror})."
            ) from None

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Count what will be run."""
        self._collected = len(session.items)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Tell of what does not collect."""
        if report.failed:
            self.write(_line(report.nodeid, "error", "collect", report))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep a phase until the test is over."""
        worker = worker_of(report)
        reports = self._pending.setdefault((report.nodeid, worker), [])
        reports.append(report)
        if report.when not in ("setup", "call"):
            del self._pending[report.nodeid, worker]
            self._tell(report.nodeid, worker, reports)

    def _tell(self, test: str, worker: str, reports: list[pytest.TestReport]) -> None:
        durations = {str(one.when): round(one.duration, 6) for one in reports}
        seeds = self._config.stash.get(SEEDS, {})
        about: dict[str, Any] = {"durations": durations}
        about |= {"seeds": seeds} if seeds else {}
        about |= {"worker": worker} if worker else {}
        for name, value in (pair for report in reports for pair in report.user_properties):
            entry = value if name in _PROPERTIES else {"name": name, "value": value}
            kept = about.setdefault(_PROPERTIES.get(name, "properties"), [])
            if entry not in kept:
                kept.append(entry)
        telling = [(one, outcome) for one in reports if (outcome := outcome_of(one))]
        for number, (report, outcome) in enumerate(telling):
            line = _line(test, outcome, str(report.when), report)
            self.write(line | (about if number == 0 else {"worker": worker} if worker else {}))

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        """Tell what is still pending, and of the run itself."""
        for (test, worker), reports in self._pending.items():
            self._tell(test, worker, reports)
        self._pending.clear()
        workers = getattr(self._config.option, "numprocesses", None) or 0
        run = {
            "collected": self._collected or session.testscollected,
            "duration_s": round(stopwatch.seconds() - self._began, 3),
            "interrupted": exitstatus == pytest.ExitCode.INTERRUPTED,
            "exit": int(exitstatus),
            "seeds": self._config.stash.get(SEEDS, {}),
            "workers": workers,
            "arguments": [str(one) for one in self._config.invocation_params.args],
            "python": platform.python_version(),
            "pytest": pytest.__version__,
        }
        self.write({"run": run})

    def pytest_unconfigure(self) -> None:
        """Close the file."""
        self._file.close()

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Say where it is."""
        terminalreporter.write_line(f"cos: the report is in {self._path}")


def _line(
    test: str, outcome: str, phase: str, report: pytest.TestReport | pytest.CollectReport
) -> dict[str, Any]:
    line: dict[str, Any] = {
        "test": test,
        "outcome": outcome,
        "phase": phase if phase in ("setup", "call", "teardown", "collect") else "",
    }
    if outcome in ("failed", "error"):
        text = report.longreprtext
        plain = [{"type": "", "message": text, "frames": [], "link": ""}]
        line["chain"] = getattr(report, _CHAIN, None) or plain
        line["traceback"] = text
        output = {name: text for name, text in report.sections if text}
        if output:
            line["output"] = output
    elif outcome in ("skipped", "xfailed"):
        reason = getattr(report, "wasxfail", None)
        longrepr = report.longrepr
        line["reason"] = reason or (longrepr[2] if isinstance(longrepr, tuple) else str(longrepr or ""))
    return line
