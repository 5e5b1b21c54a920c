"""What `cos green` can say went wrong: one sentence with the way out, an exit code from 40 upward."""

from __future__ import annotations

from cos.errors import CosError


class NotARepository(CosError):
    """This folder is not inside a git repository: run `git init` and commit, or go to the project's folder."""

    exit_code = 40
    slug = "green-not-a-repository"


class NoCommit(CosError):
    """The repository has no commit yet: commit the project once, so that missions have a base."""

    exit_code = 41
    slug = "green-no-commit"


class NoTests(CosError):
    """Pytest found no tests: give a path to them, or check `testpaths`."""

    exit_code = 42
    slug = "green-no-tests"


class UnreadableReport(CosError):
    """The file is not a JUnit XML, a pytest text log or a report in JSON Lines."""

    status = 422
    exit_code = 43
    slug = "green-unreadable-report"


class AgentMissing(CosError):
    """The agent's command was not found."""

    exit_code = 44
    slug = "green-agent-missing"


class NoDiskSpace(CosError):
    """The disk is full: free some space and run `cos green resume`."""

    exit_code = 45
    slug = "green-disk-full"


class PytestMissing(CosError):
    """The interpreter has no pytest: name another with `--python`."""

    exit_code = 46
    slug = "green-pytest-missing"


class BadRules(CosError):
    """`[tool.cos.green]` has a value that cannot be used."""

    exit_code = 47
    slug = "green-bad-rules"


class GitFailed(CosError):
    """A git command failed."""

    exit_code = 48
    slug = "green-git-failed"


class NoRun(CosError):
    """There is no run here yet: start one with `cos green run`."""

    exit_code = 49
    slug = "green-no-run"


class RunGoesOn(CosError):
    """Another `cos green` works in this repository: wait for it, or end it with `cos green stop`."""

    exit_code = 50
    slug = "green-run-goes-on"


class NotGreen(CosError):
    """The suite is not all green."""

    exit_code = 51
    slug = "green-not-green"


class BelowBound(CosError):
    """The pass rate is under the bound."""

    exit_code = 52
    slug = "green-below-bound"


class SuiteFailed(CosError):
    """Pytest could not run the suite."""

    exit_code = 53
    slug = "green-suite-failed"


class ImportsLeak(CosError):
    """The tests of a worktree import the project from the working tree, so a run there would prove nothing."""

    exit_code = 54
    slug = "green-imports-leak"


class BadLog(CosError):
    """The event log of `cos green` cannot be read."""

    exit_code = 55
    slug = "green-bad-log"


class PythonMissing(CosError):
    """There is no such Python interpreter: give the path of the project's own with `--python`."""

    exit_code = 56
    slug = "green-python-missing"
