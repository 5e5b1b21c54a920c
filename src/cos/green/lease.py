"""What a mission may write: paths and globs; tests, thresholds and CI are read-only unless granted by name."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import PurePosixPath

from cos.green.layout import side_of

_GUARDED_NAMES = frozenset(
    {
        "pyproject.toml", "pytest.ini", "setup.cfg", "tox.ini", "noxfile.py", "conftest.py", ".coveragerc", "Makefile",
        "justfile", "Jenkinsfile", ".gitlab-ci.yml", ".travis.yml", "azure-pipelines.yml", "sitecustomize.py",
        "usercustomize.py", ".gitignore", ".gitattributes", ".pytest.ini", "pytest.toml",
    }
)  # fmt: skip
_GUARDED_FOLDERS = frozenset({".github", ".gitlab", ".circleci", ".ci", ".buildkite", ".cos", ".git"})


@dataclass(frozen=True, slots=True)
class Lease:
    """Globs that may be written; `granted` are those of them that are guarded and were granted by name."""

    write: tuple[str, ...]
    granted: tuple[str, ...] = ()

    def allows(self, path: str) -> bool:
        """Say whether a path may be written: leased, and granted too where it is guarded."""
        if guarded(path):
            return any(_glob(pattern).fullmatch(path) for pattern in self.granted)
        return any(_glob(pattern).fullmatch(path) for pattern in (*self.write, *self.granted))

    def overlaps(self, other: Lease) -> bool:
        """Say whether two leases could name one path; grants that hold for all do not count."""
        return any(_may_meet(one, two) for one in self.write for two in other.write)


def guarded(path: str) -> bool:
    """Say whether a path decides what counts as green: tests, conftest, options of tools, CI."""
    parts = PurePosixPath(path)
    if parts.name in _GUARDED_NAMES or parts.suffix == ".pth" or _GUARDED_FOLDERS & set(parts.parts):
        return True
    return side_of(path) in ("test", "shared")


@lru_cache(maxsize=1024)
def _glob(pattern: str) -> re.Pattern[str]:
    """Translate a glob: `**` crosses folders, `*` and `?` do not; a bare folder means all below."""
    if pattern.endswith("/"):
        pattern += "**"
    out = ""
    at = 0
    while at < len(pattern):
        if pattern.startswith("**/", at):
            out, at = out + "(?:.*/)?", at + 3
        elif pattern.startswith("**", at):
            out, at = out + ".*", at + 2
        elif pattern[at] == "*":
            out, at = out + "[^/]*", at + 1
        elif pattern[at] == "?":
            out, at = out + "[^/]", at + 1
        else:
            out, at = out + re.escape(pattern[at]), at + 1
    return re.compile(out)


def matches(pattern: str, path: str) -> bool:
    """Say whether a glob names a path."""
    return _glob(pattern).fullmatch(path) is not None


def _may_meet(one: str, other: str) -> bool:
    """Say whether two globs may name one path; where both hold wildcards their fixed beginnings decide."""
    if one == other or matches(one, other) or matches(other, one):
        return True
    plain_one, plain_other = not set("*?") & set(one), not set("*?") & set(other)
    if plain_one or plain_other:
        return False
    start_one, start_other = re.split(r"[*?]", one)[0], re.split(r"[*?]", other)[0]
    return start_one.startswith(start_other) or start_other.startswith(start_one)
