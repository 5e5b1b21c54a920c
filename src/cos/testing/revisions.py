"""Compares two revisions of a repository: each in a worktree of its own, with the same command."""

from __future__ import annotations

import subprocess
from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from cos.errors import BadInput
from cos.testing.benchmark import compare
from cos.testing.command import Command
from cos.testing.comparison import Comparison

HERE = "."
_GIT_S = 120.0


def compare_revisions(
    a: str,
    b: str,
    command: Sequence[str],
    *,
    repository: Path | str = ".",
    env: Mapping[str, str] | None = None,
    prepare: Sequence[str] | None = None,
    timeout_s: float = 300.0,
    **how: Any,
) -> Comparison:
    """Measure how long a command takes at revision `a` against revision `b`.

    Args:
        a: what is judged, such as `HEAD`; `.` is the working tree as it stands, with what is not committed.
        b: what it is judged against, such as `main`.
        command: run in the root of each worktree; `{root}` in it is that folder.
        repository: any folder of it.
        env: variables to set, with `{root}` too: `{"PYTHONPATH": "{root}/src"}` makes an installed (editable) package
            give way to the revision's own files.
        prepare: run once in each worktree before, e.g. to build.
        timeout_s: for one run, in seconds.
        **how: of `compare`: `at_most`, `pairs`, `seconds` and so on.

    Raises:
        BadInput: git, the repository or a revision is missing.
        CommandFailed: a command ended badly.
        TooSlow: a bound was given, and `a` is surely above it.
    """
    __tracebackhide__ = True
    root = Path(_git(Path(repository), "rev-parse", "--show-toplevel").strip())
    with ExitStack() as stack:
        sides = []
        for revision in (a, b):
            folder = stack.enter_context(_checked_out(root, revision))
            if prepare:
                Command(_at(prepare, folder), folder, _set(env, folder), timeout_s=timeout_s).run()
            sides.append(Command(_at(command, folder), folder, _set(env, folder), revision, timeout_s))
        return compare(*sides, **how)


def _at(parts: Sequence[str], folder: Path) -> list[str]:
    return [part.replace("{root}", str(folder)) for part in parts]


def _set(env: Mapping[str, str] | None, folder: Path) -> dict[str, str]:
    return {name: value.replace("{root}", str(folder)) for name, value in (env or {}).items()}


@contextmanager
def _checked_out(root: Path, revision: str) -> Generator[Path]:
    if revision == HERE:
        yield root
        return
    found = _git(root, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")
    with TemporaryDirectory(prefix="cos-revision-") as folder:
        place = Path(folder, "tree")
        _git(root, "worktree", "add", "--detach", "--quiet", str(place), found.strip())
        try:
            yield place
        finally:
            _git(root, "worktree", "remove", "--force", str(place))


def _git(folder: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(  # noqa: S603  (git, with arguments of ours)
            ["git", *arguments],  # noqa: S607  (the user's git)
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=_GIT_S,
            check=False,
        )
    except OSError as error:
        raise BadInput(
            f"git cannot be run in {folder} ({error.strerror}): install git, or give a folder."
        ) from None
    except subprocess.TimeoutExpired:
        raise BadInput(f"git {arguments[0]} took more than {_GIT_S:g} s in {folder}.") from None
    if done.returncode:
        if arguments[:2] == ("rev-parse", "--verify"):
            name = arguments[-1].removesuffix("^{commit}")
            raise BadInput(
                f"There is no revision {name!r} in {folder}: give a commit, a branch, a tag or '.'."
            )
        raise BadInput(f"git {arguments[0]} failed in {folder}: {done.stderr.strip() or done.returncode}")
    return done.stdout
