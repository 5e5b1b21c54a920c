"""What the house rules stand on: the project's files, parsed once, and how a rule is applied and escaped.

A rule is a class in `rules/`: its docstring says why, `name` is its name in an escape, `scope` the folders that it
reads, `escapes` the files that it spares and why; `find` yields the lines that break it, and `bad` and `good` are
snippets that prove it. A single line is spared by `# house: NAME (the reason)` at its end.
"""

from __future__ import annotations

import ast
import importlib.util
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from fnmatch import fnmatch
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
_ESCAPE = re.compile(r"#.*\bhouse: (?P<name>[a-z-]+) \((?P<reason>[^)]+)\)")


class Module:
    """One parsed Python file."""

    def __init__(self, text: str, path: str = "src/cos/snippet.py") -> None:
        self.text = text
        self.path = path
        self.tree = ast.parse(text)
        self.lines = text.splitlines()
        self.conftests: list[Module] = []

    @cached_property
    def nodes(self) -> list[ast.AST]:
        return list(ast.walk(self.tree))

    @cached_property
    def imports(self) -> list[tuple[int, str]]:
        """The full name of each thing imported, with its line."""
        found = []
        for node in self.nodes:
            if isinstance(node, ast.Import):
                found += [(node.lineno, alias.name) for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                found += [(node.lineno, f"{node.module}.{alias.name}") for alias in node.names]
        return found

    @cached_property
    def _aliases(self) -> dict[str, str]:
        found = {}
        for node in self.nodes:
            if isinstance(node, ast.Import):
                found |= {
                    a.asname or a.name.split(".")[0]: a.name if a.asname else a.name.split(".")[0]
                    for a in node.names
                }
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                found |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
        return found

    def name_of(self, node: ast.AST) -> str:
        """Give the full dotted name of what an expression names, as imported; empty when it names nothing imported."""
        if isinstance(node, ast.Attribute):
            owner = self.name_of(node.value)
            return f"{owner}.{node.attr}" if owner else ""
        return self._aliases.get(node.id, "") if isinstance(node, ast.Name) else ""

    def uses(self, names: frozenset[str]) -> Iterator[tuple[int, str]]:
        """Yield each place that imports one of the full names, or takes it from its module."""
        yield from ((line, name) for line, name in self.imports if name in names)
        for node in self.nodes:
            if isinstance(node, ast.Attribute) and (name := self.name_of(node)) in names:
                yield node.lineno, name

    def calls(self) -> Iterator[tuple[ast.Call, str]]:
        """Yield each call with the full name of what is called."""
        yield from ((node, self.name_of(node.func)) for node in self.nodes if isinstance(node, ast.Call))

    def escapes(self, line: int) -> str | None:
        """Name the rule that a line's comment spares it from."""
        found = _ESCAPE.search(self.lines[line - 1]) if line <= len(self.lines) else None
        return found["name"] if found else None


@pytest.fixture(scope="session")
def parse() -> type[Module]:
    return Module


@pytest.fixture(scope="session")
def tracked() -> list[str]:
    """The files that git knows or would add, as paths from the root."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return [path for path in sorted(set(listed.splitlines())) if (ROOT / path).is_file()]


@pytest.fixture(scope="session")
def modules(tracked: list[str]) -> list[Module]:
    """Every Python file of the project."""
    found = [Module((ROOT / path).read_text(), path) for path in tracked if path.endswith(".py")]
    conftests = [module for module in found if module.path.endswith("/conftest.py")]
    for module in found:
        module.conftests = [
            one for one in conftests if module.path.startswith(one.path.removesuffix("conftest.py"))
        ]
    return found


@pytest.fixture(scope="session")
def broken_by(modules: list[Module]) -> Callable[[Any], list[str]]:
    """Give the places that break a rule, as `path:line: what`, and the escapes that no longer spare anything."""

    def apply(rule: Any) -> list[str]:
        found, spared = [], set()
        for module in modules:
            if not module.path.startswith(rule.scope):
                continue
            pattern = next((pattern for pattern in rule.escapes if fnmatch(module.path, pattern)), None)
            for line, what in rule.find(module):
                if pattern:
                    spared.add(pattern)
                elif module.escapes(line) != rule.name:
                    found.append(f"{module.path}:{line}: {what}")
        return found + [
            f"the escape {pattern!r} spares nothing" for pattern in rule.escapes if pattern not in spared
        ]

    return apply


@pytest.fixture(scope="session")
def script() -> Callable[[str], Any]:
    """Load a script by its path from the root."""

    def load(path: str) -> Any:
        name = "cos_script_" + Path(path).stem
        if name not in sys.modules:
            spec = importlib.util.spec_from_file_location(name, ROOT / path)
            assert spec is not None
            assert spec.loader is not None
            module = sys.modules[name] = importlib.util.module_from_spec(spec)
            try:
                spec.loader.exec_module(module)
            except BaseException:
                del sys.modules[name]
                raise
        return sys.modules[name]

    return load


@pytest.fixture(scope="session")
def root() -> Path:
    return ROOT
