"""The merge queue: each mission rebased as one commit, tried, merged, and taken out again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cos.green.suite import Suite, Task
from cos.green.verify import GOOD, affected, missed, regressions, summary

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path
    from typing import Any

    from cos.green.imports import Imports
    from cos.green.mission import Mission
    from cos.green.repo import Repo

TRAILER = "Cos-Green-Mission"
_NAMED = 5


@dataclass(frozen=True, slots=True)
class Picked:
    """A mission's work as one commit on the branch; `commit` is None where it conflicts in `conflicts`.

    `tree` is the worktree in which the commit stands.
    """

    commit: str | None
    tree: Path
    conflicts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class MergeQueue:
    """Moves one run's integration branch; every step can be done again after a crash and comes out the same."""

    repo: Repo
    run: str
    base: str
    folder: Path
    suite_in: Callable[[Path, str], Suite]

    @property
    def branch(self) -> str:
        """The branch on which missions come together."""
        return f"cos-green/{self.run}/integration"

    def tip(self) -> str:
        """Give the branch's commit; the branch begins at the run's base."""
        found = self.repo.commit_of(f"refs/heads/{self.branch}")
        if found is None:
            self.repo.move_branch(self.branch, self.base, None)
            return self.base
        return found

    def merged(self, since: str, tip: str) -> dict[str, str]:
        """Give the missions between two commits, oldest first, with their commits."""
        form = f"%H%x1f%(trailers:key={TRAILER},valueonly,separator=%x2c)%x1e"
        text = self.repo.git("log", "--reverse", f"--format={form}", f"{since}..{tip}")
        found: dict[str, str] = {}
        for entry in text.split("\x1e"):
            commit, _, value = entry.strip().partition("\x1f")
            run, _, mission = value.partition("/")
            if run == self.run and mission:
                found[mission] = commit
        return found

    def squash(self, mission: Mission, base: str, tip: str) -> str:
        """Make one commit of a mission's work; the same work gives the same commit."""
        tree = self.repo.git("rev-parse", f"{tip}^{{tree}}").strip()
        message = f"{mission.id}: {mission.name}\n\n{TRAILER}: {self.run}/{mission.id}"
        return self.repo.git("commit-tree", tree, "-p", base, "-m", message, date=self._date()).strip()

    def pick(self, commit: str, onto: str) -> Picked:
        """Rebase one commit in the queue's own worktree.

        Args:
            commit: with a parent.
            onto: where it shall stand.

        Returns:
            The new commit, or the files that conflict.
        """
        tree = self._tree(onto, commit)
        self.repo.add_worktree(tree, onto)
        code, _, _ = self.repo.git_code(
            "cherry-pick", "--allow-empty", "--keep-redundant-commits", commit, cwd=tree, date=self._date()
        )
        if code == 0:
            return Picked(self.repo.git("rev-parse", "HEAD", cwd=tree).strip(), tree)
        names = self.repo.git("diff", "--name-only", "--diff-filter=U", "-z", cwd=tree, check=False)
        self.repo.git_code("cherry-pick", "--abort", cwd=tree)
        return Picked(None, tree, tuple(name for name in names.split("\0") if name) or ("?",))

    def try_out(
        self, mission: Mission, tree: Path, changed: Iterable[str], imports: Imports, before: dict[str, str]
    ) -> tuple[list[str], dict[str, Any]]:
        """Run what a picked mission can affect in a fresh checkout.

        Args:
            mission: that was picked.
            tree: where it was.
            changed: paths that it changed.
            imports: who imports whom.
            before: outcomes before the mission.

        Returns:
            Why it cannot be merged (nothing if it can), and the run's counts.
        """
        files = affected(imports, changed, mission.targets)
        suite = self.suite_in(tree, mission.id)
        run = suite.run(Task(tuple(file for file in files or () if (tree / file).exists())))
        reasons = [
            f"{test} does not pass in a fresh checkout" for test in missed(run, mission.targets)[:_NAMED]
        ]
        broken = regressions(run, before, suite, only=files)
        reasons += [f"it breaks {test}, which passed before" for test in broken[:_NAMED]]
        return reasons, summary(run)

    def culprit(self, since: str, tip: str, lost: list[str]) -> str | None:
        """Bisect regressions to the first mission with which any of the tests fails.

        Args:
            since: the wave's base, where they pass.
            tip: where they fail.
            lost: the tests.

        Returns:
            The mission, or None where no single one explains it.
        """
        chain = list(self.merged(since, tip).items())
        low, high = 0, len(chain) - 1
        while low < high:
            middle = (low + high) // 2
            if self._fails(chain[middle][1], lost):
                high = middle
            else:
                low = middle + 1
        return chain[low][0] if chain and self._fails(chain[low][1], lost) else None

    def _fails(self, commit: str, tests: list[str]) -> bool:
        tree = self._tree(commit)
        self.repo.add_worktree(tree, commit)
        if not all((tree / test.partition("::")[0]).exists() for test in tests):
            return True
        run = self.suite_in(tree, "M0").run(Task(tuple(tests)))
        return any(run.outcomes.get(test) not in GOOD for test in tests)

    def _tree(self, *commits: str) -> Path:
        """Name a worktree by what is in it: bytecode that is kept for one path must not serve another content."""
        return self.folder / "-".join(["merge", *(commit[:12] for commit in commits)])

    def without(self, mission: str, since: str, tip: str) -> tuple[str, list[tuple[str, tuple[str, ...]]]]:
        """Build the branch again without one mission.

        Args:
            mission: to take out.
            since: the wave's base.
            tip: the branch now.

        Returns:
            The new tip, and those that cannot stand without it, with the files in which they conflict.
        """
        new = since
        fallen: list[tuple[str, tuple[str, ...]]] = []
        for name, commit in self.merged(since, tip).items():
            if name == mission:
                continue
            picked = self.pick(commit, new)
            if picked.commit is None:
                fallen.append((name, picked.conflicts))
            else:
                new = picked.commit
        return new, fallen

    def _date(self) -> str:
        return self.repo.git("show", "-s", "--format=%cI", self.base).strip()
