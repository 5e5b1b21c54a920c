"""Reads what an assertion was about: the calls and objects of pytest's `where` lines and of the test's own source."""

from __future__ import annotations

import ast
import builtins
import re
import textwrap
from functools import lru_cache

_WHERE = re.compile(r"^\s*\+\s+(?:where|and)\s+(?P<text>.+)$", re.MULTILINE)
_OBJECT = re.compile(r"<(?:[\w.<>]+\.)?(?P<name>[A-Za-z_]\w*) object at ")
_ENUM = re.compile(r"<(?P<name>[A-Z]\w*)\.\w+: ")
_CALL = re.compile(r"^(?P<name>[A-Za-z_][\w.]*)\(")
_MODULE_FUNCTION = re.compile(r"^<function (?P<name>[\w.]+) at ")
_ATTRIBUTE = re.compile(r"\.(?P<name>[A-Za-z_]\w*)$")
_REPR = re.compile(r"(?<![\w.])(?P<name>[A-Z]\w+)\((?=\w+=|\))")
_BUILTIN = frozenset(dir(builtins)) | frozenset(
    [
        "pytest",
        "raises",
        "approx",
        "mark",
        "fixture",
        "mock",
        "patch",
        "Mock",
        "MagicMock",
        "AsyncMock",
        "monkeypatch",
        "json",
        "dumps",
        "loads",
        "re",
        "datetime",
        "Path",
        "asyncio",
        "run",
        "gather",
        "sleep",
        "join",
        "split",
        "strip",
        "format",
        "items",
        "keys",
        "values",
        "append",
        "get",
        "call_args",
        "called",
        "caplog",
        "capsys",
        "readouterr",
        "text",
        "status_code",
        "self",
        "cls",
        "np",
        "array",
        "numpy",
        "pd",
        "math",
        "os",
        "sys",
        "time",
        "startswith",
        "endswith",
        "copy",
        "deepcopy",
        "lower",
        "upper",
        "replace",
        "encode",
        "decode",
        "read_text",
        "write_text",
        "exists",
        "mkdir",
        "assert_called_once",
        "assert_called_once_with",
        "assert_called_with",
        "return_value",
        "side_effect",
        "timedelta",
        "now",
        "today",
        "isoformat",
        "extend",
        "pop",
        "add",
        "update",
        "sort",
        "count",
        "index",
        "date",
        "datetime",
        "time",
        "uuid4",
        "namedtuple",
        "Decimal",
        "Fraction",
        "StringIO",
        "BytesIO",
        "TestClient",
        "tmp_path",
    ]
)
_CAPTURE = frozenset({"LogCaptureFixture", "CaptureFixture", "CaptureResult"})


def where_names(message: str) -> tuple[list[str], list[str]]:
    """Give the callables and attributes, and the types, that an assertion's introspection shows.

    Args:
        message: what the assertion said, with its `where` lines.

    Returns:
        Two lists: callables (`add`, `Cart.total`) and attributes; names of types.
    """
    calls: list[str] = []
    types: list[str] = [match["name"] for match in _OBJECT.finditer(message)]
    types += [match["name"] for match in _ENUM.finditer(message)]
    for match in _WHERE.finditer(message):
        expression = match["text"].rpartition(" = ")[2].strip()
        if call := _CALL.match(expression):
            calls.append(call["name"])
        elif function := _MODULE_FUNCTION.match(expression):
            calls.append(function["name"])
        elif attribute := _ATTRIBUTE.search(expression):
            calls.append(attribute["name"])
        types += [found["name"] for found in _REPR.finditer(match["text"])]
    kept = [name for name in calls if name.rpartition(".")[2] not in _BUILTIN]
    return list(dict.fromkeys(kept)), list(dict.fromkeys(name for name in types if name not in _BUILTIN))


def is_empty_capture(message: str) -> bool:
    """Say whether a message was looked for in captured output that is empty."""
    shown = any(name in message for name in _CAPTURE)
    return shown and bool(
        re.search(r" in (?:''|\"\")(?:\n|$)|where (?:''|\[\]) = <|in \[\](?:\n|$)", message)
    )


@lru_cache(maxsize=4096)
def called_for(snippet: str, line: int = 0) -> tuple[str, ...]:
    """Give what a failing statement depends on: calls in it and in what made the names that it uses.

    Args:
        snippet: source of the test up to the failing statement, or of that statement alone.
        line: number of the failing line within the snippet from 1; 0 for its last statement.

    Returns:
        Dotted names of calls, nearest first, without those of Python and of test tools; paths that a client asks for
        are kept as `/path`.
    """
    tree = _parse(snippet)
    if tree is None:
        return tuple(
            dict.fromkeys(name for name in re.findall(r"([A-Za-z_][\w.]*)\(", snippet) if _owned(name))
        )
    body = _body(tree)
    made: dict[str, str] = {}
    statements = [statement for statement in _flat(body) if not line or statement.lineno <= line]
    if not statements:
        return ()
    needed = _names(statements[-1])
    found = _calls(statements[-1], made)
    for statement in statements:
        if isinstance(statement, ast.Assign) and isinstance(statement.value, ast.Call):
            for target in statement.targets:
                if isinstance(target, ast.Name):
                    made[target.id] = _dotted(statement.value.func)
    found = _calls(statements[-1], made)
    for statement in reversed(statements[:-1]):
        touched = _assigned(statement) | _receivers(statement)
        if touched & needed:
            needed |= _names(statement)
            found += _calls(statement, made)
    return tuple(dict.fromkeys(found))


def _parse(snippet: str) -> ast.Module | None:
    text = textwrap.dedent(snippet)
    for candidate in (
        text,
        text + "\n    pass",
        "if 1:\n" + textwrap.indent(text, "    "),
        "async def _():\n" + textwrap.indent(text, "    "),
    ):
        try:
            return ast.parse(candidate)
        except (SyntaxError, ValueError):
            continue
    return None


def _body(tree: ast.Module) -> list[ast.stmt]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            return node.body
    return tree.body


def _flat(body: list[ast.stmt]) -> list[ast.stmt]:
    """Give simple statements in order; of compound ones their parts, and a `with` itself as well."""
    flat: list[ast.stmt] = []
    for statement in body:
        inner = [child for name in ("body", "orelse", "finalbody") for child in getattr(statement, name, [])]
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            flat.append(statement)
            continue
        flat.append(statement)
        flat += _flat([child for child in inner if isinstance(child, ast.stmt)])
    return flat


def _names(node: ast.AST) -> set[str]:
    return {child.id for child in ast.walk(node) if isinstance(child, ast.Name)}


def _assigned(statement: ast.stmt) -> set[str]:
    return {
        child.id
        for child in ast.walk(statement)
        if isinstance(child, ast.Name) and isinstance(child.ctx, ast.Store)
    }


def _receivers(statement: ast.stmt) -> set[str]:
    """Give the names on which the statement calls methods: `cart.add(x)` changes `cart`."""
    return {
        child.func.value.id
        for child in ast.walk(statement)
        if isinstance(child, ast.Call)
        and isinstance(child.func, ast.Attribute)
        and isinstance(child.func.value, ast.Name)
    }


def _dotted(node: ast.expr) -> str:
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        before = _dotted(node.value)
        return f"{before}.{node.attr}" if before else node.attr
    if isinstance(node, ast.Call):
        return _dotted(node.func)
    if isinstance(node, ast.Await):
        return _dotted(node.value)
    return ""


def _calls(node: ast.AST, made: dict[str, str]) -> list[str]:
    found: list[str] = []
    for child in ast.walk(node):
        if not isinstance(child, ast.Call):
            continue
        name = _dotted(child.func)
        first, dot, rest = name.partition(".")
        if dot and first in made:
            name = f"{made[first].rpartition('.')[2] or first}.{rest}"
        if _owned(name):
            found.append(name)
        if child.args and isinstance(child.args[0], ast.Constant) and isinstance(child.args[0].value, str):
            path = child.args[0].value
            if path.startswith("/") and len(path) > 1:
                found.append("/" + path.strip("/").split("?")[0].split("/")[0])
    return found


def _owned(name: str) -> bool:
    first, _, _ = name.partition(".")
    last = name.rpartition(".")[2]
    if last.startswith(("assert", "fail")):
        return False
    if not name or first in {"pytest", "mock", "np", "asyncio", "json", "os", "re", "self", "math", "sys"}:
        return "." in name and first == "self" and last not in _BUILTIN
    return "." in name or last not in _BUILTIN


@lru_cache(maxsize=256)
def _functions(text: str) -> tuple[tuple[int, int, str], ...]:
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError):
        return ()
    return tuple(
        (node.lineno, node.end_lineno or node.lineno, node.name)
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )


def enclosing(text: str, line: int) -> str:
    """Give the innermost function around a line of a source text; empty if there is none."""
    inside = [(end - start, name) for start, end, name in _functions(text) if start <= line <= end]
    return min(inside)[1] if inside else ""
