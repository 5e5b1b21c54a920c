"""Tells the project's own files from foreign ones, and tests from the product."""

from __future__ import annotations

import re
from collections import Counter
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cos.green.failure import Failure

Side = Literal["product", "test", "shared", "foreign"]

_FOREIGN = re.compile(
    r"(?:^|/)(?:site-packages|dist-packages|\.?venv|\.tox|\.nox|node_modules|__pypackages__|_pytest|pluggy)/"
    r"|(?:^|/)lib(?:64)?/python\d|(?:^|/)python\d+\.\d+/|(?:^|/)Lib/(?!.*test)|^<|\.pyx$|^importlib/"
)
_TEST_FOLDER = frozenset({"tests", "test", "testing", "t", "spec", "specs", "e2e"})
_TEST_NAME = re.compile(
    r"^(?:test_.*|.*_test|tests?|.*_tests?|.*[._-](?:spec|test)|conftest)\.\w+$|^.*Tests?\.java$"
)


def side_of(file: str) -> Side:
    """Say what a file of the project is, from its path alone.

    Args:
        file: relative to the project, with forward slashes.

    Returns:
        `shared` is ground that many tests stand on (conftest, fixtures, helpers in a test folder).
    """
    path = PurePosixPath(file)
    if path.name == "conftest.py":
        return "shared"
    if _TEST_NAME.match(path.name):
        return "test"
    if any(part in _TEST_FOLDER for part in path.parts[:-1]):
        return "shared"
    return "product"


class Layout:
    """Names the files of one project as git does, whatever the machine was that wrote the log."""

    def __init__(self, root: Path | None = None, failures: Iterable[Failure] = ()) -> None:
        """Learn the project's root.

        Args:
            root: the project's folder, if it is at hand.
            failures: where the log's absolute paths end as a test's node id does, the folder before is the root too.
        """
        self.root = root
        self._prefixes = [*_prefixes(failures), *([f"{root.as_posix()}/"] if root else [])]
        self._local = lru_cache(maxsize=4096)(self._find_local)

    def local(self, file: str) -> str | None:
        """Give the path relative to the project, or None for a foreign file."""
        return self._local(file)

    def _find_local(self, file: str) -> str | None:
        path = file.replace("\\", "/")
        for prefix in self._prefixes:
            if path.startswith(prefix):
                path = path[len(prefix) :]
                break
        path = path.removeprefix("./")
        if (
            not path
            or _FOREIGN.search(path)
            or path.startswith(("../", "/"))
            or re.match(r"^[A-Za-z]:/", path)
        ):
            return None
        return path

    def side(self, file: str) -> Side:
        """Say what a file named in a log is."""
        local = self.local(file)
        return "foreign" if local is None else side_of(local)

    def read(self, file: str) -> str | None:
        """Give the text of a project's file, or None if it is not at hand."""
        local = self.local(file)
        if self.root is None or local is None:
            return None
        return _read(self.root / local)


@lru_cache(maxsize=512)
def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None


def _prefixes(failures: Iterable[Failure]) -> list[str]:
    found: Counter[str] = Counter()
    for failure in failures:
        tail = "/" + failure.file
        for raised in failure.chain:
            for frame in raised.frames:
                path = frame.file.replace("\\", "/")
                if path.endswith(tail) and len(path) > len(tail):
                    found[path[: -len(tail) + 1]] += 1
    return [prefix for prefix, _ in found.most_common(4)]
