"""`cos green scan` at the command line: finds the project, reads or runs, and keeps a note for the history."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from cos.green.read import read_run
from cos.green.repo import Repo
from cos.green.rules import load_rules
from cos.green.scan import Scan, ask_for_proposals, scan_run, scan_suite
from cos.green.suite import Suite, find_python

if TYPE_CHECKING:
    from collections.abc import Sequence


def scan_here(
    paths: Sequence[str],
    source: Path | None,
    *,
    python: str | None,
    llm: str | None,
    reruns: int,
    suite_limit_s: float,
    trace: bool,
) -> tuple[Scan, Repo]:
    """Scan the project around the current folder, or a recorded run.

    Args:
        paths: tests to run; none: the suite.
        source: a record to read instead of a run.
        python: the project's interpreter, if it is not to be found.
        llm: command that may propose merges and names.
        reruns: most processes for reruns.
        suite_limit_s: seconds that one run may take.
        trace: whether to note what tests execute.

    Returns:
        The scan, and the repository (for a record: of the current folder, if it is in one).
    """
    here = Path(os.path.realpath("."))
    if source is not None:
        repo = Repo(Repo.root_of(here) or here)
        rules = load_rules(repo.root)
        found = scan_run(read_run(source), repo.root, rules)
    else:
        repo = Repo.find(here)
        repo.make_state()
        rules = load_rules(repo.root)
        where = [
            str((here / path).relative_to(repo.root)) if _is_path(here, path) else path for path in paths
        ]
        suite = Suite(
            repo.root,
            repo.root,
            find_python(repo.root, python or rules.python),
            suite_limit_s,
            (*rules.pytest_args, *where),
        )
        found = scan_suite(suite, rules, reruns=reruns, trace=trace)
        if not paths:
            _note(repo, found)
    ask_for_proposals(found, rules, repo.root, llm)
    return found, repo


def _is_path(here: Path, text: str) -> bool:
    return (here / text.partition("::")[0]).exists()


def _note(repo: Repo, found: Scan) -> None:
    """Keep the run's figures for `cos green history`."""
    from cos.green.log import Log  # noqa: PLC0415 - a scan of a file needs no log
    from cos.green.verify import counts_of  # noqa: PLC0415

    log = Log(repo.make_state() / "log.db")
    flaky = [test for test, nature in found.natures.items() if nature == "flaky"]
    commit = repo.commit_of("HEAD") or ""
    log.append(
        "scan",
        "scanned",
        counts=counts_of(found.run),
        commit=commit,
        flaky=flaky,
        dirty=bool(repo.uncommitted()),
    )
    log.close()
