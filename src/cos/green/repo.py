"""The git of a project: worktrees and branches of our own; the user's tree, index and branches are only read."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from cos.green.clock import monotonic, pause
from cos.green.errors import GitFailed, NoCommit, NoDiskSpace, NotARepository
from cos.green.process import MARKER, environment

_LIMIT_S = 120.0
# what programs leave in a tree that nobody means to commit
_LITTER = (
    "__pycache__/**",
    "*.pyc",
    ".pytest_cache/**",
    ".mypy_cache/**",
    ".ruff_cache/**",
    ".coverage",
    ".aider*",
    ".aider*/**",
    ".hypothesis/**",
    ".DS_Store",
)
_LOCK_WAIT_S = 10.0
_HEADER = 3
_AUTHOR = {
    "GIT_AUTHOR_NAME": "cos green",
    "GIT_AUTHOR_EMAIL": "green@cos.invalid",
    "GIT_COMMITTER_NAME": "cos green",
    "GIT_COMMITTER_EMAIL": "green@cos.invalid",
}
# nothing of the user's configuration may run programs or change what we commit
_SAFE = (
    "-c",
    "core.hooksPath=/dev/null",
    "-c",
    "commit.gpgSign=false",
    "-c",
    "core.autocrlf=false",
    "-c",
    "gc.auto=0",
)


@dataclass(frozen=True, slots=True)
class Repo:
    """One repository, by the root of the user's working tree."""

    root: Path

    @staticmethod
    def root_of(folder: Path) -> Path | None:
        """Give the root of the working tree around a folder, or None."""
        try:
            done = subprocess.run(
                ["git", "rev-parse", "--show-toplevel"],  # noqa: S607 - git is found on the path, as everywhere
                cwd=folder, env=environment({}), capture_output=True, text=True, timeout=_LIMIT_S, check=False,
            )  # fmt: skip
        except FileNotFoundError:
            raise GitFailed("git was not found: install it, `cos green` works on git repositories.") from None
        if "dubious ownership" in done.stderr:
            raise GitFailed(
                f"git does not trust {folder}, since another user owns it: run "
                f"`git config --global --add safe.directory {folder}`, or take the folder over."
            )
        return Path(done.stdout.strip()) if done.returncode == 0 and done.stdout.strip() else None

    @classmethod
    def find(cls, folder: Path) -> Repo:
        """Find the repository around a folder.

        Raises:
            NotARepository: there is none.
        """
        root = cls.root_of(folder)
        if root is None:
            raise NotARepository(
                f"{folder} is not inside a git repository: run `git init` and commit, or go to the project's folder."
            )
        return cls(root)

    @property
    def state(self) -> Path:
        """The folder of everything that `cos green` keeps, which git ignores."""
        return self.root / ".cos" / "green"

    def make_state(self) -> Path:
        """Create the state folder so that it never shows in the user's `git status`."""
        try:
            self.state.mkdir(parents=True, exist_ok=True)
            ignore = self.state / ".gitignore"
            if not ignore.exists():
                ignore.write_text("*\n", encoding="utf-8")
        except OSError as error:
            if error.errno == errno.ENOSPC:
                raise NoDiskSpace from None
            raise
        return self.state

    def git(self, *arguments: str, cwd: Path | None = None, check: bool = True, date: str = "") -> str:
        """Run git and give its output.

        Args:
            *arguments: of git.
            cwd: the worktree; None for the user's root.
            check: whether a failure is an error; else the output is empty.
            date: a fixed time for a commit, so that the same commit has the same id.

        Raises:
            GitFailed: with git's own last line.
            NoDiskSpace: the disk is full.
        """
        code, output, problem = self.git_code(*arguments, cwd=cwd, date=date)
        if code == 0:
            return output
        if "No space left" in problem:
            raise NoDiskSpace
        if not check:
            return ""
        lines = [line for line in (problem or output).splitlines() if line.strip()]
        shown = " ".join(arguments[:3])
        raise GitFailed(f"`git {shown}` failed: {lines[-1].strip() if lines else f'exit code {code}'}")

    def git_code(self, *arguments: str, cwd: Path | None = None, date: str = "") -> tuple[int, str, str]:
        """Run git and give its exit code and both outputs; a lock that another git holds is waited for."""
        dates = {"GIT_AUTHOR_DATE": date, "GIT_COMMITTER_DATE": date} if date else {}
        env = environment(
            {**_AUTHOR, **dates, MARKER: str(self.root), "LC_ALL": "C", "GIT_TERMINAL_PROMPT": "0"}
        )
        until = monotonic() + _LOCK_WAIT_S
        while True:
            done = subprocess.run(  # noqa: S603 - an argument list of our own
                ["git", *_SAFE, *arguments],  # noqa: S607 - git is found on the path, as everywhere
                cwd=cwd or self.root, env=env, capture_output=True, stdin=subprocess.DEVNULL,
                timeout=_LIMIT_S, check=False,
            )  # fmt: skip
            problem = done.stderr.decode("utf-8", errors="replace")
            locked = ".lock'" in problem and "File exists" in problem
            if done.returncode == 0 or not locked or monotonic() > until:
                return done.returncode, done.stdout.decode("utf-8", errors="replace"), problem
            pause(0.05)

    def head(self) -> str:
        """Give the id of the user's commit.

        Raises:
            NoCommit: the repository is empty.
        """
        found = self.commit_of("HEAD")
        if found is None:
            raise NoCommit
        return found

    def commit_of(self, name: str) -> str | None:
        """Give the id that a name stands for, or None."""
        return self.git("rev-parse", "--verify", "--quiet", f"{name}^{{commit}}", check=False).strip() or None

    def uncommitted(self) -> list[str]:
        """Give the files of the user's tree that differ from the commit; reading alone, the index stays as it is."""
        text = self.git("--no-optional-locks", "status", "--porcelain=v1", "-z", "--untracked-files=normal")
        return [entry[3:] for entry in text.split("\0") if len(entry) > 3]  # noqa: PLR2004 - two letters and a blank

    def add_worktree(self, path: Path, commit: str, branch: str | None = None) -> None:
        """Check a commit out in a folder of our own; what stood there goes first.

        Args:
            path: in the state folder.
            commit: where a new branch begins, or what is checked out without one.
            branch: a branch of ours; one that exists already is checked out where it is.
        """
        self.drop_worktree(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        if branch is None:
            self.git("worktree", "add", "--quiet", "--detach", str(path), commit)
        elif self.commit_of(f"refs/heads/{branch}"):
            self.git("worktree", "add", "--quiet", str(path), branch)
        else:
            self.git("worktree", "add", "--quiet", "-b", branch, str(path), commit)

    def drop_worktree(self, path: Path) -> None:
        """Take a folder of our own away; branches stay. Only a path in the state folder is ever touched."""
        if not path.is_relative_to(self.state):
            raise GitFailed(f"{path} is not a worktree of cos green and stays.")
        if path.exists():
            self.git_code("worktree", "remove", "--force", "--force", str(path))
            shutil.rmtree(path, ignore_errors=True)
        self._forget(path)

    def _forget(self, path: Path) -> None:
        """Remove git's own note of a worktree that is gone; `worktree prune` would take the user's too."""
        notes = (
            Path(self.git("rev-parse", "--path-format=absolute", "--git-common-dir").strip()) / "worktrees"
        )
        for note in notes.glob("*/gitdir") if notes.is_dir() else ():
            with contextlib.suppress(OSError):
                if note.read_text(encoding="utf-8").strip() == str(path / ".git"):
                    shutil.rmtree(note.parent, ignore_errors=True)

    def commit_all(self, worktree: Path, message: str, leave: tuple[str, ...] = ()) -> str:
        """Commit what a worktree holds, without what tools leave behind, and give the commit.

        Args:
            worktree: one of our own.
            message: of the commit.
            leave: paths that were put there by us and are no part of the work.
        """
        out = [f":(exclude,glob)**/{name}" for name in _LITTER] + [f":(exclude){path}" for path in leave]
        self.git("add", "--all", "--", ".", *out, cwd=worktree)
        code, _, _ = self.git_code("diff", "--cached", "--quiet", cwd=worktree)
        if code:
            self.git("commit", "--quiet", "--no-verify", "-m", message, cwd=worktree)
        return self.git("rev-parse", "HEAD", cwd=worktree).strip()

    def changed(self, base: str, tip: str) -> list[tuple[str, str]]:
        """Give what differs between two commits as (letter, path); a move counts as deletion and addition."""
        text = self.git("diff", "--name-status", "--no-renames", "-z", base, tip)
        parts = text.split("\0")
        return [(parts[at][:1], parts[at + 1]) for at in range(0, len(parts) - 1, 2)]

    def show(self, commit: str, path: str) -> str | None:
        """Give a file's text in a commit, or None if it has no such file."""
        code, text, _ = self.git_code("show", f"{commit}:{path}")
        return text if code == 0 else None

    def texts(self, commit: str, paths: list[str], suffix: str = ".py") -> dict[str, str]:
        """Give the texts of a commit's files of one kind, read in one go."""
        wanted = [path for path in paths if path.endswith(suffix) and "\n" not in path]
        done = subprocess.run(  # noqa: S603 - an argument list of our own
            ["git", *_SAFE, "cat-file", "--batch"],  # noqa: S607 - git is found on the path, as everywhere
            cwd=self.root, input="".join(f"{commit}:{path}\n" for path in wanted).encode(), capture_output=True,
            env=environment({MARKER: str(self.root)}), timeout=_LIMIT_S, check=False,
        )  # fmt: skip
        data, at, found = done.stdout, 0, {}
        for path in wanted:
            end = data.find(b"\n", at)
            header = data[at:end].split()
            at = end + 1
            if len(header) == _HEADER and header[1] == b"blob":
                size = int(header[2])
                found[path] = data[at : at + size].decode("utf-8", errors="replace")
                at += size + 1
        return found

    def files(self, commit: str) -> list[str]:
        """Give the paths of a commit."""
        return [path for path in self.git("ls-tree", "-r", "-z", "--name-only", commit).split("\0") if path]

    def move_branch(self, branch: str, new: str, old: str | None) -> bool:
        """Set one of our branches if it still is where we think; `old` None means that it must not exist yet."""
        if not branch.startswith("cos-green/"):
            raise GitFailed(f"The branch {branch} is not one of cos green's and stays.")
        code, _, _ = self.git_code("update-ref", f"refs/heads/{branch}", new, old or "0" * 40)
        return code == 0

    def unlock(self) -> None:
        """Take away locks of ours that a killed git left: of our branches and of our worktrees."""
        common = Path(self.git("rev-parse", "--path-format=absolute", "--git-common-dir").strip())
        for lock in (common / "refs" / "heads" / "cos-green").rglob("*.lock"):
            lock.unlink(missing_ok=True)
        for note in (common / "worktrees").glob("*/gitdir") if (common / "worktrees").is_dir() else ():
            with contextlib.suppress(OSError):
                if note.read_text(encoding="utf-8").startswith(str(self.state) + os.sep):
                    for lock in note.parent.glob("*.lock"):
                        lock.unlink(missing_ok=True)
