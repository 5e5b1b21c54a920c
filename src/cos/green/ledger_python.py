"""Compares two versions of a Python file and names what weakens the proof that its tests give."""

from __future__ import annotations

import ast
import re
from collections import Counter
from dataclasses import dataclass, field

from cos.green.weakening import Weakening

_SKIPS = re.compile(r"(?:^|\.)(?:skip|skipif|skipIf|skipUnless|importorskip|SkipTest|skipTest)$")
_XFAILS = re.compile(r"(?:^|\.)(?:xfail|expectedFailure)$")
_RERUNS = re.compile(r"(?:^|\.)(?:flaky|rerun\w*|retry|repeat|reruns)$")
_CHECKS = re.compile(
    r"(?:^|\.)(?:assert\w*|raises|warns|fail|deprecated_call|check\w*|expect\w*|verify\w*)$", re.IGNORECASE
)
_MOCKS = re.compile(r"(?:^|\.)(?:patch|patch\.object|patch\.dict|patch\.multiple|setattr|setitem|delattr)$")
_DOCSTRING_AND_RETURN = 2
_BROAD = frozenset({"Exception", "BaseException", "AssertionError"})
_HOOKS = frozenset(
    {
        "pytest_collection_modifyitems", "pytest_ignore_collect", "pytest_runtest_makereport", "pytest_runtest_call",
        "pytest_runtest_protocol", "pytest_pyfunc_call", "pytest_sessionfinish",
        "pytest_deselected", "pytest_itemcollected",
        "pytest_report_teststatus", "pytest_collect_file", "pytest_exception_interact", "pytest_runtest_setup",
    }
)  # fmt: skip
_IGNORES = frozenset({"collect_ignore", "collect_ignore_glob", "__test__"})
_DETECTS = ("PYTEST_CURRENT_TEST", "PYTEST_VERSION")


@dataclass(slots=True)
class _Facts:
    """What one version of a file says, each with the line of its first place."""

    tests: dict[str, ast.AST] = field(default_factory=dict)
    marks: dict[tuple[str, str], int] = field(default_factory=dict)
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)


def compare(
    path: str, before: str | None, after: str | None, *, test: bool, owned: frozenset[str]
) -> list[Weakening]:
    """Name what a change of one file weakens.

    Args:
        path: of the file.
        before: its text at the base, None for a new file.
        after: its text now, None for a deleted one.
        test: whether it belongs to the tests (conftest and helpers too).
        owned: names of the packages that are the project's own.

    Returns:
        Each weakening with its line in the new text (in the old one for what is gone).
    """
    old, new = _parse(before), _parse(after)
    if after is not None and new is None and old is not None:
        return []  # it does not parse: the tests that need it will say so
    was, now = _read(old, owned, test=test), _read(new, owned, test=test)
    found = [
        Weakening(kind, path, line, text)
        for (kind, text), line in now.marks.items()
        if now.counts[kind, text] > was.counts[kind, text]
    ]
    if test:
        for name, node in was.tests.items():
            found += _compare_test(path, name, node, now.tests.get(name))
    return sorted(found, key=lambda one: (one.line, one.kind))


def _parse(text: str | None) -> ast.Module | None:
    if text is None:
        return None
    try:
        return ast.parse(text)
    except (SyntaxError, ValueError):
        return None


def _dotted(node: ast.AST) -> str:
    if isinstance(node, ast.Call):
        return _dotted(node.func)
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def _read(tree: ast.Module | None, owned: frozenset[str], *, test: bool) -> _Facts:
    facts = _Facts()
    if tree is None:
        return facts
    _collect_tests(tree, "", facts)
    names = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] in owned:
            names.update({alias.asname or alias.name: node.module for alias in node.names})
        elif isinstance(node, ast.Import):
            names.update(
                {
                    alias.asname or alias.name.partition(".")[0]: alias.name
                    for alias in node.names
                    if alias.name.partition(".")[0] in owned
                }
            )
    for node in ast.walk(tree):
        for kind, text in _marks_of(node, frozenset(names), owned, test=test):
            facts.counts[kind, text] += 1
            # the last such place is the likelier new one
            facts.marks[kind, text] = _line_of(node, text)
    return facts


def _line_of(node: ast.AST, text: str) -> int:
    for decorator in getattr(node, "decorator_list", []):
        if text.startswith("@") and ast.unparse(decorator).startswith(text[1:]):
            return int(decorator.lineno)
    return int(getattr(node, "lineno", 1))


def _marks_of(
    node: ast.AST, imported: frozenset[str], owned: frozenset[str], *, test: bool
) -> list[tuple[str, str]]:
    marks: list[tuple[str, str]] = []
    if isinstance(node, ast.ExceptHandler):
        kinds = [
            _dotted(kind)
            for kind in (
                node.type.elts if isinstance(node.type, ast.Tuple) else [node.type] if node.type else []
            )
        ]
        if not kinds or any(kind in _BROAD for kind in kinds):
            marks.append(("broad-except", f"except {', '.join(kinds)}".strip()))
    if (
        isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and any(word in node.value for word in _DETECTS)
    ):
        marks.append(("detects-tests", node.value[:60]))
    if (
        isinstance(node, ast.Compare)
        and isinstance(node.left, ast.Constant)
        and node.left.value in ("pytest", "unittest")
        and "sys.modules" in ast.unparse(node)
    ):
        marks.append(("detects-tests", ast.unparse(node)))
    if (
        isinstance(node, ast.FunctionDef)
        and node.name in ("__eq__", "__ne__", "__bool__", "__hash__")
        and _constant_body(node)
    ):
        marks.append(("always-equal", f"{node.name} returns a constant"))
    if isinstance(node, ast.Call):
        marks += _marks_of_call(node, imported, owned, test=test)
    if test:
        marks += _marks_of_test_code(node)
    return marks


def _constant_body(node: ast.FunctionDef) -> bool:
    last = node.body[-1]
    return (
        len(node.body) <= _DOCSTRING_AND_RETURN
        and isinstance(last, ast.Return)
        and isinstance(last.value, ast.Constant)
        and isinstance(last.value.value, bool)
    )


def _marks_of_call(
    node: ast.Call, imported: frozenset[str], owned: frozenset[str], *, test: bool
) -> list[tuple[str, str]]:
    name = _dotted(node.func)
    marks: list[tuple[str, str]] = []
    if name.endswith("suppress") and any(_dotted(argument) in _BROAD for argument in node.args):
        marks.append(("broad-except", ast.unparse(node)[:80]))
    if name in ("os._exit", "sys.exit", "exit", "quit", "pytest.exit") and test:
        marks.append(("ends-the-run", ast.unparse(node)[:80]))
    if not test:
        return marks
    if _SKIPS.search(name):
        marks.append(("skip", ast.unparse(node)[:80]))
    elif _XFAILS.search(name):
        marks.append(("xfail", ast.unparse(node)[:80]))
    elif _MOCKS.search(name) and node.args and _is_ours(node.args[0], imported, owned):
        marks.append(("mock", ast.unparse(node)[:80]))
    return marks


def _is_ours(target: ast.expr, imported: frozenset[str], owned: frozenset[str]) -> bool:
    if isinstance(target, ast.Constant) and isinstance(target.value, str):
        return target.value.partition(".")[0] in owned
    return _dotted(target).partition(".")[0] in imported


def _marks_of_test_code(node: ast.AST) -> list[tuple[str, str]]:
    marks: list[tuple[str, str]] = []
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        if node.name in _HOOKS:
            marks.append(("hook", f"def {node.name}"))
        autouse = [
            d for d in node.decorator_list if "fixture" in _dotted(d) and "autouse=True" in ast.unparse(d)
        ]
        marks += [("hook", f"autouse fixture {node.name}") for _ in autouse]
    for decorator in getattr(node, "decorator_list", []):
        name = _dotted(decorator)
        if not isinstance(decorator, ast.Call) and _SKIPS.search(name):
            marks.append(("skip", f"@{name}"))
        elif not isinstance(decorator, ast.Call) and _XFAILS.search(name):
            marks.append(("xfail", f"@{name}"))
        if _RERUNS.search(name):
            marks.append(("rerun", f"@{ast.unparse(decorator)[:80]}"))
    if isinstance(node, ast.Assign):
        names = [_dotted(target) for target in node.targets]
        text = ast.unparse(node.value)
        if any(name in _IGNORES or name.endswith("__test__") for name in names):
            marks.append(("deselected", ast.unparse(node)[:80]))
        if "pytestmark" in names and re.search(r"\.(skip|xfail)\b", text) and "(" not in text:
            marks.append(("skip", ast.unparse(node)[:80]))
    return marks


def _collect_tests(node: ast.AST, owner: str, facts: _Facts) -> None:
    """Note every function and class of a test file that holds checks, whatever its name: helpers check as well."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef):
            _collect_tests(child, f"{owner}{child.name}.", facts)
        elif isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            facts.tests[f"{owner}{child.name}"] = child
            _collect_tests(child, f"{owner}{child.name}.", facts)
        elif isinstance(child, ast.If | ast.Try | ast.With):
            _collect_tests(child, owner, facts)


def _checks(node: ast.AST) -> list[tuple[str, int, int]]:
    """Give each check as (text, line, depth of conditions around it)."""
    found: list[tuple[str, int, int]] = []

    def walk(current: ast.AST, depth: int) -> None:
        for child in ast.iter_child_nodes(current):
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                continue
            inner = depth + isinstance(child, ast.If | ast.Try | ast.While | ast.ExceptHandler)
            if isinstance(child, ast.Assert):
                found.append((ast.unparse(child.test), child.lineno, depth))
            elif isinstance(child, ast.Call) and _CHECKS.search(_dotted(child.func)):
                found.append((ast.unparse(child), child.lineno, depth))
            walk(child, inner)

    walk(node, 0)
    return found


def _returns_early(node: ast.AST) -> int:
    """Give the line of a return that stands, unconditionally, before the end of the body; 0 if there is none."""
    body = getattr(node, "body", [])
    for statement in body[:-1]:
        if isinstance(statement, ast.Return | ast.Raise):
            return statement.lineno
    return 0


def _parameters(node: ast.AST) -> int:
    total = 0
    for decorator in getattr(node, "decorator_list", []):
        if (
            isinstance(decorator, ast.Call)
            and _dotted(decorator.func).endswith("parametrize")
            and len(decorator.args) > 1
        ):
            values = decorator.args[1]
            total += len(values.elts) if isinstance(values, ast.List | ast.Tuple | ast.Set) else 0
    return total


def _compare_test(path: str, name: str, old: ast.AST, new: ast.AST | None) -> list[Weakening]:
    is_test = name.rpartition(".")[2].startswith("test") or name.rpartition(".")[2].endswith("test")
    before = _checks(old)
    line = getattr(old, "lineno", 1)
    if new is None:
        return [Weakening("deleted-test", path, line, f"{name} is gone")] if is_test or before else []
    at = getattr(new, "lineno", 1)
    after = _checks(new)
    found: list[Weakening] = []
    if before and not after:
        found.append(Weakening("emptied-test", path, at, f"{name} checks nothing any more"))
    elif len(after) < len(before):
        kept = Counter(text for text, _, _ in after)
        for text, _, _ in before:
            if not kept[text]:
                found.append(Weakening("removed-assert", path, at, f"{name}: {text[:120]}"))
            kept[text] -= 1
    else:
        found += _changed_checks(path, name, before, after)
    deepest = {text: depth for text, _, depth in before}
    found += [
        Weakening("conditional-assert", path, where, f"{name}: {text[:120]}")
        for text, where, depth in after
        if text in deepest and depth > deepest[text]
    ]
    if is_test and (early := _returns_early(new)) and not _returns_early(old):
        found.append(Weakening("emptied-test", path, early, f"{name} ends before its checks"))
    if _parameters(new) < _parameters(old):
        found.append(Weakening("removed-cases", path, at, f"{name} has fewer cases"))
    return found


def _changed_checks(
    path: str, name: str, before: list[tuple[str, int, int]], after: list[tuple[str, int, int]]
) -> list[Weakening]:
    left = Counter(text for text, _, _ in after)
    gone = []
    for text, _, _ in before:
        if left[text]:
            left[text] -= 1
        else:
            gone.append(text)
    new = [(text, line) for text, line, _ in after if left[text] > 0]
    found = []
    for old, (text, line) in zip(gone, new, strict=False):
        kind = (
            "loosened" if re.sub(r"[\d._]+", "#", old) == re.sub(r"[\d._]+", "#", text) else "changed-assert"
        )
        found.append(Weakening(kind, path, line, f"{name}: {old[:100]} → {text[:100]}"))
    return found
