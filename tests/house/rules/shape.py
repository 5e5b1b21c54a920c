"""House rules of how a file reads, and of what it must not hide."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

Found = Iterator[tuple[int, str]]


class FilesAreShort:
    """A file that does not fit in one's head holds more than one thing."""

    name = "length"
    scope = ("src/", "tests/", "scripts/", "bench/")
    escapes = {}
    bad = ("x = 1\n" * 401,)
    good = ("x = 1\n" * 400,)

    @staticmethod
    def find(module) -> Found:
        if len(module.lines) > 400:
            yield 1, f"{len(module.lines)} lines"


class FilesSayWhatTheyAreFor:
    """Who opens a file should not have to guess why it exists: it begins with a sentence."""

    name = "docstring"
    scope = ("src/", "scripts/", "bench/")
    escapes = {}
    bad = ("import os", '"""utils"""', '"""Begins well but\n\nhas no end."""')
    good = ('"""Makes ids."""', '"""The clock: one place,\nfor all."""')

    @staticmethod
    def find(module) -> Found:
        first = (ast.get_docstring(module.tree) or "").split("\n\n", maxsplit=1)[0]
        if not first.endswith((".", ":")) or len(first.split()) < 2:
            yield 1, "no sentence at the top"


class OnlyTheCommandLinePrints:
    """What a library prints ends up in somebody's data."""

    name = "print"
    scope = "src/"
    escapes = {}
    bad = ("print('x')", "def f():\n    print(1)")
    good = ("log.info('x')", "console.print('x')")

    @staticmethod
    def find(module) -> Found:
        for call, _ in module.calls():
            prints = isinstance(call.func, ast.Name) and call.func.id == "print"
            if prints and not module.path.startswith("src/cos/cli/"):
                yield call.lineno, "print"


class BroadExceptSaysWhy:
    """A handler for everything also swallows the fault that nobody thought of; the reader must see why that is right.

    The reason stands on its line or the next one; a handler that raises again swallows nothing and needs none.
    """

    name = "except"
    scope = "src/"
    escapes = {}
    bad = (
        "try:\n    f()\nexcept:\n    pass",
        "try:\n    f()\nexcept Exception:\n    pass",
        "try:\n    f()\nexcept Exception as error:\n    if error:\n        raise",
        "try:\n    f()\nexcept (ValueError, BaseException):  # noqa: BLE001\n    pass",
    )
    good = (
        "try:\n    f()\nexcept ValueError:\n    pass",
        "try:\n    f()\nexcept Exception:  # noqa: BLE001  (a hook's fault must not undo the commit)\n    pass",
        "try:\n    f()\nexcept Exception:\n    # A hook's fault must not undo the commit.\n    pass",
        "try:\n    f()\nexcept BaseException:\n    clean_up()\n    raise",
    )

    @classmethod
    def find(cls, module) -> Found:
        for node in module.nodes:
            if not isinstance(node, ast.ExceptHandler) or not cls._is_broad(node.type):
                continue
            raises_again = isinstance(node.body[-1], ast.Raise)
            if not raises_again and not any(
                map(cls._says_why, module.lines[node.lineno - 1 : node.lineno + 1])
            ):
                yield node.lineno, "a handler for everything without a reason"

    @staticmethod
    def _says_why(line: str) -> bool:
        comment = re.sub(r"noqa:[A-Z0-9, ]+", "", line.partition("#")[2])
        return len(re.findall(r"[A-Za-z]{2,}", comment)) >= 3

    @classmethod
    def _is_broad(cls, kind: ast.expr | None) -> bool:
        if isinstance(kind, ast.Tuple):
            return any(cls._is_broad(one) for one in kind.elts)
        return kind is None or (isinstance(kind, ast.Name) and kind.id in {"Exception", "BaseException"})


class SqlIsNotComposed:
    """A statement put together from strings is where an injection and an unnamed query begin: pass parameters."""

    name = "sql"
    scope = ("src/", "tests/", "bench/")
    escapes = {}
    bad = (
        "c.execute(f'SELECT {x}')",
        "c.fetch('SELECT %s' % x)",
        "c.fetchrow('SELECT {}'.format(x))",
        "c.fetchval('SELECT ' + x)",
        "from sqlalchemy import text\ntext(f'DROP TABLE {x}')",
        "import sqlalchemy as sa\nc.execute(sa.text(f'DROP TABLE {x}'))",
        "def f(x):\n    query = f'SELECT {x}'\n    return c.fetch(query)",
        "op.execute(f'SELECT {x}')",
    )
    good = (
        "c.execute('SELECT $1', x)",
        "c.execute('SELECT 1 '\n  'FROM t')",
        "from sqlalchemy import text\ntext('SELECT :x')",
        "def f(x):\n    name = f'{x}'\n    return c.fetch(QUERY, name)",
        "show(f'{x}')",
    )
    methods = frozenset(
        {"execute", "executemany", "fetch", "fetchrow", "fetchval", "cursor", "prepare", "scalar", "scalars"}
    )

    @classmethod
    def find(cls, module) -> Found:
        composed = {
            target.id
            for node in module.nodes
            if isinstance(node, ast.Assign) and cls._is_composed(node.value)
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        for call, name in module.calls():
            runs = isinstance(call.func, ast.Attribute) and call.func.attr in cls.methods
            if call.args and (runs or name == "sqlalchemy.text"):
                first = call.args[0]
                if cls._is_composed(first) or (isinstance(first, ast.Name) and first.id in composed):
                    yield call.lineno, "a statement put together from strings"

    @classmethod
    def _is_composed(cls, node: ast.expr) -> bool:
        match node:
            case ast.JoinedStr(values=parts):
                return any(isinstance(part, ast.FormattedValue) for part in parts)
            case ast.BinOp(left=left, op=ast.Mod()):
                return isinstance(left, ast.Constant) and isinstance(left.value, str)
            case ast.BinOp(left=left, op=ast.Add(), right=right):
                return any(
                    isinstance(s, ast.Constant) and isinstance(s.value, str) for s in (left, right)
                ) or any(cls._is_composed(side) for side in (left, right))
            case ast.Call(func=ast.Attribute(value=ast.Constant(value=str()), attr="format")):
                return True
        return False


RULES = [
    FilesAreShort,
    FilesSayWhatTheyAreFor,
    OnlyTheCommandLinePrints,
    BroadExceptSaysWhy,
    SqlIsNotComposed,
]
