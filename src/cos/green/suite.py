"""Runs a project's suite with its own interpreter, options and plugins, and a probe that reports results."""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from cos.green.errors import ImportsLeak, NoDiskSpace, NoTests, PytestMissing, PythonMissing, SuiteFailed
from cos.green.failure import Failure, Run
from cos.green.parse_report import failure_line, parse_report
from cos.green.parse_traceback import parse_traceback
from cos.green.process import Ended, environment, run, run_all

if TYPE_CHECKING:
    from collections.abc import Sequence

PROBE = Path(__file__).parent / "probe"
_NO_TESTS, _USAGE, _INTERNAL = 5, 4, 3
_MANY_IDS = 1000
TEMPORARY = "reports-"


@dataclass(frozen=True, slots=True)
class Task:
    """One run of pytest: which tests (none: all), in which order, traced or not, and where its report is kept."""

    tests: tuple[str, ...] = ()
    shuffle: str = ""
    trace: bool = False
    keep: Path | None = None


@dataclass(frozen=True, slots=True)
class Suite:
    """A project's suite in one folder: its own, or a worktree of it.

    `root` is where the tests are run, `home` the project's own folder, `limit_s` the seconds that one run may take.
    """

    root: Path
    home: Path
    python: str
    limit_s: float = 1800.0
    arguments: tuple[str, ...] = ()
    extra: dict[str, str] = field(default_factory=dict)

    def run(self, task: Task | None = None) -> Run:
        """Run tests once.

        Args:
            task: what to run; None for the whole suite.

        Returns:
            What came of it.

        Raises:
            PytestMissing: the interpreter cannot import pytest.
            NoTests: pytest found none.
            SuiteFailed: pytest refused its options, broke, or took longer than the limit.
            ImportsLeak: a worktree's tests imported the project from its own folder.
        """
        return self.run_each([task or Task()])[0]

    def run_each(self, tasks: Sequence[Task], at_once: int = 2) -> list[Run]:
        """Run several tasks, each in a process of its own, a few at a time; as `run` otherwise."""
        return run_pairs([(self, task) for task in tasks], at_once)

    def job(self, task: Task, report: Path) -> tuple[list[str], Path, dict[str, str]]:
        """Give the command, folder and environment of a task that reports to a file."""
        return self._command(task), self.root, self._environment(task, report)

    def _command(self, task: Task) -> list[str]:
        command = [
            self.python,
            "-m",
            "pytest",
            "-p",
            "cos_green_probe",
            f"--rootdir={self.root}",
            *self.arguments,
        ]
        # the project's own `-x` must not hide causes, and its cache folder must not appear in the tree
        command += [
            "--maxfail=0",
            "-o",
            f"cache_dir={tempfile.gettempdir()}/cos-green-cache-{os.getuid()}",
            "-q",
            "--no-header",
        ]
        if (
            len(task.tests) > _MANY_IDS
        ):  # a command line has its limits; whole files are more tests, never fewer
            return [*command, *dict.fromkeys(test.partition("::")[0] for test in task.tests)]
        return [*command, *task.tests]

    def _environment(self, task: Task, report: Path) -> dict[str, str]:
        inside = [str(PROBE), *_mapped(self.python, self.root, self.home)]
        before = environment({}).get("PYTHONPATH", "")
        kept = [_moved(part, self.root, self.home) for part in before.split(os.pathsep) if part]
        return environment(
            {
                "PYTHONPATH": os.pathsep.join([*inside, *kept]),
                # bytecode is kept, since a start without it takes seconds, but not in anybody's tree
                "PYTHONDONTWRITEBYTECODE": None,
                "PYTHONPYCACHEPREFIX": str(self.home / ".cos" / "green" / "pycache"),
                "COS_GREEN_REPORT": str(report),
                "COS_GREEN_ROOT": str(self.root),
                "COS_GREEN_NOT_FROM": str(self.home) if self.home != self.root else None,
                "COS_GREEN_SHUFFLE": task.shuffle or None,
                "COS_GREEN_TRACE": "1" if task.trace else None,
                **self.extra,
            }
        )

    def result(self, task: Task, ended: Ended, report: Path) -> Run:
        """Read what came of a task; raises as `run` does."""
        if ended.code is None:
            raise SuiteFailed(
                f"Pytest took longer than {self.limit_s:g} s: raise --suite-limit or narrow the tests."
            )
        if "No module named pytest" in ended.output and not report.exists():
            raise PytestMissing(f"The interpreter {self.python} has no pytest: name another with --python.")
        result = parse_report(report.read_text(encoding="utf-8")) if report.exists() else Run()
        result.output = ended.output[-20_000:]
        result.duration_s = result.duration_s or ended.took_s
        if result.leaks:
            raise ImportsLeak(
                f"The tests import the project from its own folder, not from the worktree ({result.leaks[0]}): "
                "install it editable with a `src` folder, or name its paths in [tool.cos.green] paths."
            )
        if not result.outcomes and not result.failures:
            broken = startup_failure(ended.output)
            if broken is None:
                self._explain(task, ended)
            else:
                result.failures.append(broken)
                result.interrupted = True
        if task.keep is not None:
            _keep(task.keep, report, result)
        return result

    def _explain(self, task: Task, ended: Ended) -> None:
        """Say why a run has no result at all, unless that is itself the first cause."""
        if "No space left on device" in ended.output:
            raise NoDiskSpace
        if ended.code == _NO_TESTS:
            raise NoTests(f"Pytest found no tests in {self.root}: give a path to them, or check `testpaths`.")
        lines = [line for line in ended.output.splitlines() if line.strip()]
        reason = next(
            (line for line in reversed(lines) if "rror" in line), lines[-1] if lines else "no output"
        )
        named = " ".join(task.tests[:3])
        raise SuiteFailed(
            f"Pytest could not run {named or 'the suite'} (exit code {ended.code}): {reason.strip()[:300]}"
        )


def run_pairs(pairs: Sequence[tuple[Suite, Task]], at_once: int = 2) -> list[Run]:
    """Run tasks of several suites, each in a process of its own.

    Args:
        pairs: a suite and what to run of it.
        at_once: how many run at the same time.

    Returns:
        The runs in the order of the pairs; raises as `Suite.run` does.
    """
    kept = pairs[0][0].home / ".cos" / "green" if pairs else None
    inside = str(kept) if kept is not None and kept.is_dir() else None
    with tempfile.TemporaryDirectory(prefix=TEMPORARY, dir=inside) as folder:
        reports = [Path(folder) / f"{number}.jsonl" for number in range(len(pairs))]
        jobs = [suite.job(task, report) for (suite, task), report in zip(pairs, reports, strict=True)]
        limit_s = max((suite.limit_s for suite, _ in pairs), default=0.0)
        ends = run_all(jobs, limit_s=limit_s, at_once=at_once)
        return [
            suite.result(task, ended, report)
            for (suite, task), ended, report in zip(pairs, ends, reports, strict=True)
        ]


def _keep(path: Path, report: Path, result: Run) -> None:
    """Keep a report where it outlives us, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    if report.exists() and result.outcomes:
        shutil.copyfile(report, part)
    else:
        part.write_text("".join(failure_line(failure) for failure in result.failures), encoding="utf-8")
    part.replace(path)


def startup_failure(ended_output: str) -> Failure | None:
    """Turn a suite that does not even start (a conftest that breaks) into its first cause."""
    chain = parse_traceback(ended_output.splitlines())
    frames = [frame for raised in chain for frame in raised.frames]
    place = next((frame.file for frame in frames if frame.file.endswith("conftest.py")), "")
    if not chain or not place:
        return None
    return Failure(place, "error", "collect", chain)


def find_python(home: Path, asked: str | None = None) -> str:
    """Choose the interpreter: the one asked for, else the project's .venv, else our own.

    Args:
        home: the project's folder.
        asked: a name on the path, or a path; a relative one counts from here, or else from the project's folder.

    Raises:
        PythonMissing: there is no such program.
    """
    if asked:
        near = [str(Path.cwd() / asked), str(home / asked)] if os.sep in asked else [asked]
        found = next((there for one in near if (there := shutil.which(one))), None)
        if found is None:
            raise PythonMissing(
                f"There is no program {asked}: give the path of the project's Python with --python."
            )
        return found
    for name in (".venv/bin/python", "venv/bin/python", ".venv/Scripts/python.exe"):
        if (home / name).exists():
            return str(home / name)
    return sys.executable


_PATHS: dict[tuple[str, Path], list[str]] = {}


def _mapped(python: str, root: Path, home: Path) -> list[str]:
    """Give the entries of the interpreter's path that lie in the project, as they are in `root`."""
    if (python, home) not in _PATHS:
        code = "import json, sys; print(json.dumps(sys.path))"
        ended = run([python, "-c", code], cwd=Path(tempfile.gettempdir()), env=environment({}), limit_s=60)
        try:
            entries = json.loads(ended.output.strip().splitlines()[-1])
        except (ValueError, IndexError):
            entries = []
        inside = [entry for entry in entries if entry and Path(entry).is_relative_to(home)]
        _PATHS[python, home] = [
            entry for entry in inside if "site-packages" not in entry and "/lib/python" not in entry
        ]
    found = [_moved(entry, root, home) for entry in _PATHS[python, home]]
    if (root / "src").is_dir() and str(root / "src") not in found:
        found.append(str(root / "src"))
    return found


def _moved(entry: str, root: Path, home: Path) -> str:
    path = Path(entry)
    if path.is_relative_to(home) and "site-packages" not in entry:
        return str(root / path.relative_to(home))
    return entry
