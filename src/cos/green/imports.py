"""Who imports whom inside a project, read from its sources without running them."""

from __future__ import annotations

import ast
from collections import defaultdict
from functools import lru_cache
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from cos.green.layout import side_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_ROOTS = frozenset({"src", "lib", "python"})


class Imports:
    """The import graph of one commit, between its own files alone."""

    def __init__(self, texts: Mapping[str, str]) -> None:
        """Read the sources.

        Args:
            texts: by path, of the Python files.
        """
        self.files = [file for file in texts if file.endswith(".py")]
        self._by_name = _names(self.files)
        self.of: dict[str, frozenset[str]] = {}
        self._texts = texts
        for file in self.files:
            text = texts[file]
            found = {self.find(name) for name in _imported(text, _module(file), file.endswith("__init__.py"))}
            self.of[file] = frozenset(name for name in found if name and name != file)
        self.by: dict[str, set[str]] = defaultdict(set)
        for file, targets in self.of.items():
            for target in targets:
                self.by[target].add(file)

    def find(self, name: str) -> str | None:
        """Give the file of a dotted name, or of the longest part of it that has one."""
        while name:
            if name in self._by_name:
                return self._by_name[name]
            name = name.rpartition(".")[0]
        return None

    def text(self, file: str) -> str:
        """Give a file's text as it was read; empty for one that was not."""
        return self._texts.get(file, "")

    @property
    def packages(self) -> set[str]:
        """The names under which the product's own code is imported."""
        return {_module(file).partition(".")[0] for file in self.files if side_of(file) == "product"}

    def product_of(self, test_file: str, *, depth: int = 1) -> list[str]:
        """Give the product's files that a test reaches by imports (and by its conftest files'), nearest first."""
        folders = [str(parent) for parent in PurePosixPath(test_file).parents]
        conftests = [f"{folder}/conftest.py".removeprefix("./") for folder in folders]
        frontier = [test_file, *(file for file in conftests if file in self.of)]
        found: dict[str, None] = {}
        for _ in range(depth + 1):
            reached = [target for file in frontier for target in sorted(self.of.get(file, ()))]
            found.update(dict.fromkeys(file for file in reached if side_of(file) == "product"))
            frontier = reached
        return list(found)

    def tests_of(self, changed: Iterable[str]) -> set[str] | None:
        """Give the test files that a change can affect; None where only the whole suite can tell."""
        reached: set[str] = set()
        frontier = list(changed)
        while frontier:
            file = frontier.pop()
            if file in reached:
                continue
            if not file.endswith(".py") or PurePosixPath(file).name in ("conftest.py", "__init__.py"):
                return None
            reached.add(file)
            frontier.extend(self.by.get(file, ()))
            if any(PurePosixPath(user).name == "conftest.py" for user in self.by.get(file, ())):
                return None
        return {file for file in reached if side_of(file) == "test"}


def _module(file: str) -> str:
    parts = list(PurePosixPath(file).with_suffix("").parts)
    while parts and parts[0] in _ROOTS:
        parts = parts[1:]
    if parts and parts[-1] == "__init__":
        parts = parts[:-1]
    return ".".join(parts)


def _names(files: Iterable[str]) -> dict[str, str]:
    names: dict[str, str] = {}
    for file in files:
        name = _module(file)
        names.setdefault(name, file)
        if side_of(file) != "product":  # a test folder may be on the path itself
            names.setdefault(name.rpartition(".")[2], file)
    return names


@lru_cache(maxsize=4096)
def _parsed(text: str) -> ast.Module | None:
    try:
        return ast.parse(text)
    except (SyntaxError, ValueError):
        return None


def _imported(text: str, module: str, is_package: bool) -> set[str]:
    tree = _parsed(text)
    if tree is None:
        return set()
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = node.module or ""
            if node.level:
                parts = module.split(".")
                parts = parts[: len(parts) - node.level + (1 if is_package else 0)]
                start = ".".join([*parts, start]).strip(".")
            names.add(start)
            names.update(f"{start}.{alias.name}" for alias in node.names)
    return names
