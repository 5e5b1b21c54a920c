"""The project's own rules, `[tool.cos.green]` of its pyproject.toml: categories with priorities, grants, paths."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cos.green.errors import BadRules

if TYPE_CHECKING:
    from pathlib import Path

    from cos.green.cause import Cause


@dataclass(frozen=True, slots=True)
class Category:
    """A name for causes whose pattern, example or files match; priority 1 is the most urgent, 9 the least."""

    name: str
    match: re.Pattern[str]
    priority: int = 5


def _category(name: str, pattern: str, priority: int) -> Category:
    return Category(name, re.compile(pattern, re.IGNORECASE), priority)


# asked in this order after the project's own
BUILT_IN = (
    _category("event loop", r"event.loop|different loop|asyncio\.run\(\)|never awaited", 2),
    _category("container lifecycle", r"docker|container|testcontainers|podman|compose", 2),
    _category(
        "dependency injection",
        r"dependency.override|provider|inject(?:or|ion)|unknown service|not registered",
        3,
    ),
    _category("login", r"^login|authentication|password|AUTH |permission denied|forbidden", 3),
    _category("connection", r"^connection|refused|unreachable|name resolution|timed? ?out connecting", 3),
    _category("pub/sub", r"pub.?sub|publish|subscri|channel|kafka|rabbit|amqp", 4),
    _category(
        "database",
        r"sqlalchemy|psycopg|asyncpg|sqlite|no such table|relation|column|mapper|migration|alembic",
        4,
    ),
    _category("imports", r"^missing-module|cannot import name|No module named|^syntax", 1),
    _category("fixtures", r"^missing-fixture|fixture|^fixture-loop", 1),
    _category("configuration", r"markers|environment variable|setting|config", 3),
    _category("performance", r"^performance|latency|throughput", 8),
    _category("interface", r"^missing-name|^signature|^abstract", 4),
    _category("test doubles", r"^mock-call|mock", 6),
    _category("assertion", r"^assertion|^empty-capture", 6),
)


@dataclass(frozen=True, slots=True)
class Rules:
    """What a project may set; every field has a default, so a project without rules works."""

    categories: tuple[Category, ...] = ()
    python: str | None = None
    shared: tuple[str, ...] = ()
    grant: tuple[str, ...] = ()
    grant_weakening: tuple[str, ...] = ()
    copy: tuple[str, ...] = ()
    owned: tuple[str, ...] = ()
    llm: str | None = None
    pytest_args: tuple[str, ...] = ()

    def sort_in(self, cause: Cause) -> None:
        """Give a cause its category and priority: the project's rules first, then the built-in ones."""
        for category in (*self.categories, *BUILT_IN):
            subject = [cause.kind, cause.pattern, cause.name, cause.example[:2000]]
            if category in self.categories:
                subject += [*cause.files, *cause.tests[:50]]
            if any(category.match.search(text) for text in subject):
                cause.category, cause.priority = category.name, category.priority
                return
        cause.category, cause.priority = "other", 5


_LISTS = ("shared", "grant", "grant_weakening", "copy", "owned", "pytest_args")
_TEXTS = ("python", "llm")
_LEAST_URGENT = 9


def load_rules(root: Path) -> Rules:
    """Read `[tool.cos.green]`.

    Args:
        root: the folder of pyproject.toml; a project without one has the defaults.

    Returns:
        The rules.

    Raises:
        BadRules: names the first value that cannot be used.
    """
    path = root / "pyproject.toml"
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    except (OSError, ValueError) as error:
        raise BadRules(f"{path} cannot be read as TOML ({error}): mend it first.") from None
    table = data.get("tool", {}).get("cos", {}).get("green", {})
    if not isinstance(table, dict):
        raise BadRules(f"[tool.cos.green] in {path} must be a table.")
    known = {*_LISTS, *_TEXTS, "category"}
    for name in table:
        if name not in known:
            raise BadRules(f"[tool.cos.green] has no setting '{name}': it knows {', '.join(sorted(known))}.")
    values: dict[str, Any] = {name: _texts(name, table[name]) for name in _LISTS if name in table}
    for name in _TEXTS:
        if name in table:
            if not isinstance(table[name], str) or not table[name]:
                raise BadRules(f"[tool.cos.green] {name} = {table[name]!r} must be a text.")
            values[name] = table[name]
    entries = table.get("category", [])
    if not isinstance(entries, list):
        raise BadRules("[tool.cos.green] category must be written as [[tool.cos.green.category]] entries.")
    return Rules(categories=tuple(_read_category(entry) for entry in entries), **values)


def _texts(name: str, value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise BadRules(f"[tool.cos.green] {name} = {value!r} must be a list of texts.")
    return tuple(value)


def _read_category(entry: object) -> Category:
    if (
        not isinstance(entry, dict)
        or not isinstance(entry.get("name"), str)
        or not isinstance(entry.get("match"), str)
    ):
        raise BadRules(
            f"[[tool.cos.green.category]] needs a `name` and a `match` (a regular expression): {entry!r}."
        )
    priority = entry.get("priority", 5)
    if not isinstance(priority, int) or not 1 <= priority <= _LEAST_URGENT:
        raise BadRules(
            f"The category '{entry['name']}' has priority {priority!r}: give 1 (most urgent) to 9."
        )
    try:
        return Category(entry["name"], re.compile(entry["match"], re.IGNORECASE), priority)
    except re.error as error:
        raise BadRules(
            f"The category '{entry['name']}' has a `match` that is no regular expression: {error}."
        ) from None
