"""Compares two versions of a file that holds pytest's options, coverage bounds or data that tests compare with."""

from __future__ import annotations

import configparser
import re
import tomllib
from pathlib import PurePosixPath
from typing import Any

from cos.green.layout import side_of
from cos.green.weakening import Weakening

_LEAVES_OUT = re.compile(
    r"--ignore|--deselect|(?:^|\s)-k[\s=]|(?:^|\s)-m[\s=]|norecursedirs|testpaths|python_files|python_functions|python_classes"
)
_RERUNS = re.compile(r"--reruns|flaky|rerunfailures|--retries")
_INI = {
    "pytest.ini": ("pytest",),
    ".pytest.ini": ("pytest",),
    "tox.ini": ("pytest", "testenv"),
    "setup.cfg": ("tool:pytest",),
}
_COVERAGE = (".coveragerc", "tox.ini", "setup.cfg")
_START = frozenset({"sitecustomize.py", "usercustomize.py"})


def compare_options(path: str, before: str | None, after: str | None) -> list[Weakening]:
    """Name what a change of a file that is not Python weakens.

    Args:
        path: of the file.
        before: its text at the base, None for a new file.
        after: its text now, None for a deleted one.

    Returns:
        Each weakening with the line of the changed option.
    """
    name = PurePosixPath(path).name
    if name in _START or name.endswith(".pth"):
        return [Weakening("hook", path, 1, f"{name} runs before every test")]
    if name in ("pyproject.toml", "pytest.toml", ".pytest.toml"):
        return _differences(path, _toml(before), _toml(after), after or before or "")
    if name in _INI or name in _COVERAGE:
        return _differences(path, _ini(before), _ini(after), after or before or "")
    if side_of(path) != "product" and before is not None and not path.endswith(".py"):
        what = "is gone" if after is None else "has other content"
        return [Weakening("changed-data", path, 1, f"{name} {what}")]
    return []


def _toml(text: str | None) -> dict[str, str]:
    try:
        tools = tomllib.loads(text or "").get("tool", {})
    except ValueError:
        return {"<unreadable>": text or ""}
    found: dict[str, str] = {}
    for tool in ("pytest", "coverage"):
        _flatten(tools.get(tool, {}), f"{tool}.", found)
    return found


def _flatten(value: Any, prefix: str, into: dict[str, str]) -> None:
    if isinstance(value, dict):
        for key, inner in value.items():
            _flatten(inner, f"{prefix}{key}.", into)
    else:
        into[prefix.rstrip(".")] = str(value)


def _ini(text: str | None) -> dict[str, str]:
    parser = configparser.RawConfigParser(strict=False)
    try:
        parser.read_string(text or "")
    except configparser.Error:
        return {"<unreadable>": text or ""}
    kept = [
        name
        for name in parser.sections()
        if name.startswith(("pytest", "tool:pytest", "coverage", "testenv", "run", "report"))
    ]
    return {f"{section}.{key}": value for section in kept for key, value in parser.items(section)}


def _differences(path: str, old: dict[str, str], new: dict[str, str], text: str) -> list[Weakening]:
    found = []
    for key in sorted(old.keys() | new.keys()):
        was, now = old.get(key), new.get(key)
        if was == now:
            continue
        said = f"{key}: {was if was is not None else 'not set'} → {now if now is not None else 'not set'}"[
            :200
        ]
        kind = "changed-options"
        if _RERUNS.search(f"{key} {now}") and not _RERUNS.search(f"{key} {was}"):
            kind = "rerun"
        elif _LEAVES_OUT.search(f"{key} {now or ''}"):
            kind = "deselected"
        found.append(Weakening(kind, path, _line(text, key.rpartition(".")[2]), said))
    return found


def _line(text: str, key: str) -> int:
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip().startswith(key):
            return number
    return 1
