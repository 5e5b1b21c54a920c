"""House rules of the tests: what keeps a green run worth believing."""

from __future__ import annotations

import ast
from collections.abc import Container, Iterator

Found = Iterator[tuple[int, str]]


class TestsDoNotSleep:
    """A sleep is a guess: too short on a busy machine, too long on every other.

    A loop with a deadline may pause between its polls, and `sleep(0)` is a turn of the loop, not a wait.
    """

    name = "sleep"
    scope = "tests/"
    escapes = {}
    bad = (
        "import time\ntime.sleep(1)",
        "import asyncio\nasync def f():\n    await asyncio.sleep(0.1)",
        "from time import sleep as s\ns(1)",
        "import time\ndef f():\n    while not ready():\n        time.sleep(0.1)",
        "import asyncio\nasync def f():\n    async with asyncio.timeout(9):\n        await asyncio.sleep(1)",
    )
    good = (
        "async def f():\n    await eventually(check)",
        "import asyncio\nasync def f():\n    await asyncio.sleep(0)",
        "import time\ndef f(end):\n    while time.monotonic() < end:\n        time.sleep(0.1)",
        "import asyncio as a\nasync def f():\n  async with a.timeout(9):\n    while g():\n      await a.sleep(0.1)",
        "code = 'time.sleep(60)'",
    )

    @classmethod
    def find(cls, module) -> Found:
        in_polls = {id(inner) for poll in cls._polls(module) for inner in ast.walk(poll)}
        for call, name in module.calls():
            waits = not (call.args and isinstance(call.args[0], ast.Constant) and call.args[0].value == 0)
            if name in {"time.sleep", "asyncio.sleep", "anyio.sleep"} and waits and id(call) not in in_polls:
                yield call.lineno, name

    @classmethod
    def _polls(cls, module) -> Iterator[ast.While]:
        for node in module.nodes:
            if isinstance(node, ast.While) and cls._calls(module, node, ".monotonic"):
                yield node
            elif isinstance(node, ast.AsyncWith) and cls._calls(module, node, "asyncio.timeout"):
                yield from (inner for inner in ast.walk(node) if isinstance(inner, ast.While))

    @staticmethod
    def _calls(module, node: ast.AST, ending: str) -> bool:
        calls = (inner for inner in ast.walk(node) if isinstance(inner, ast.Call))
        return any(module.name_of(call.func).endswith(ending) for call in calls)


class TestsAreNotSkipped:
    """A skipped test counts as green and proves nothing; so does one that may fail, or is run until it passes."""

    name = "skip"
    scope = "tests/"
    escapes = {}
    bad = (
        "import pytest\n@pytest.mark.skip\ndef test_a(): ...",
        "import pytest\n@pytest.mark.skipif(True, reason='x')\ndef test_a(): ...",
        "import pytest\npytestmark = [pytest.mark.xfail(strict=True)]",
        "import pytest\ndef test_a():\n    pytest.skip('no Redis')",
        "import pytest\npytest.importorskip('docker')",
        "import pytest\n@pytest.mark.flaky(reruns=3)\ndef test_a(): ...",
        "from pytest import mark\n@mark.xfail\ndef test_a(): ...",
        "import unittest\n@unittest.skip('x')\ndef test_a(): ...",
    )
    good = (
        "import pytest\n@pytest.mark.parametrize('a', [1])\ndef test_a(a): ...",
        "import pytest\npytest.fail('x')",
        "rows.skip(1)",
    )
    _calls = frozenset(
        {"pytest.skip", "pytest.xfail", "pytest.importorskip"}
        | {f"unittest.{n}" for n in ("skip", "skipIf", "SkipTest")}
    )
    _marks = ("skip", "skipif", "xfail", "flaky", "rerun")

    @classmethod
    def find(cls, module) -> Found:
        yield from module.uses(cls._calls)
        for node in module.nodes:
            name = module.name_of(node) if isinstance(node, ast.Attribute) else ""
            if name.startswith("pytest.mark.") and name.removeprefix("pytest.mark.").startswith(cls._marks):
                yield node.lineno, name


class TestsUseTheRealThing:
    """A mock agrees with whoever wrote it, not with Postgres, Redis or the code that it stands for."""

    name = "mock"
    scope = "tests/"
    escapes = {}
    bad = (
        "from unittest.mock import AsyncMock",
        "from unittest import mock",
        "import unittest.mock",
        "import mock",
        "import fakeredis",
        "def test_a(mocker): ...",
    )
    good = ("def test_a(monkeypatch): ...", "import unittest", "class RecordingDoorbell: ...")

    @staticmethod
    def find(module) -> Found:
        for line, name in module.imports:
            if f"{name}.".startswith(("unittest.mock.", "mock.", "pytest_mock.", "fakeredis.")):
                yield line, name
        for node in module.nodes:
            if isinstance(node, ast.arg) and node.arg == "mocker":
                yield node.lineno, "mocker"


class TestsDoNotAssertSeconds:
    """An absolute time is a property of the machine and of its other work: compare with a floor in the same run."""

    name = "seconds"
    scope = "tests/"
    escapes = {}
    bad = (
        "import time\ndef f():\n    t = time.perf_counter()\n    g()\n    assert time.perf_counter() - t < 0.5",
        "import time\ndef f():\n    a = time.monotonic()\n    took = time.monotonic() - a\n    assert took < 2",
        "import time\ndef f(a):\n    a = time.time()\n    t = (time.time() - a) * 1000\n    assert 0 < t <= 2 * 100",
        "from time import perf_counter as pc\ndef f():\n    a = pc()\n    b = pc()\n    assert b - a < 1e-3",
        "from cos.common import clock\ndef f():\n    a = clock.monotonic()\n    assert clock.monotonic() - a < 1",
    )
    good = (
        "import time\ndef f():\n    t = time.time()\n    m = time.time() - t\n    assert m < floor * 1.5",
        "import time\ndef f():\n    end = time.monotonic() + 5\n    while time.monotonic() < end:\n        g()",
        "def f():\n    assert count - 1 < 5",
    )
    _clocks = ("time", "monotonic", "perf_counter", "time_ns", "monotonic_ns", "perf_counter_ns")

    @classmethod
    def find(cls, module) -> Found:
        for function in module.nodes:
            if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            instants, durations = set(), set()
            for node in cls._in_order(function):
                if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                    if cls._is_duration(module, node.value, instants, durations):
                        durations.add(node.targets[0].id)
                    elif cls._is_instant(module, node.value, instants):
                        instants.add(node.targets[0].id)
                elif isinstance(node, ast.Assert):
                    for compare in (inner for inner in ast.walk(node.test) if isinstance(inner, ast.Compare)):
                        sides = [compare.left, *compare.comparators]
                        timed = any(cls._is_duration(module, side, instants, durations) for side in sides)
                        if timed and any(cls._is_number(side) for side in sides):
                            yield node.lineno, "a time compared with a number"

    @staticmethod
    def _in_order(function: ast.AST) -> list[ast.stmt]:
        return sorted((n for n in ast.walk(function) if isinstance(n, ast.stmt)), key=lambda n: n.lineno)

    @classmethod
    def _is_instant(cls, module, node: ast.expr, instants: set[str]) -> bool:
        if isinstance(node, ast.Name):
            return node.id in instants
        if not isinstance(node, ast.Call):
            return False
        owner, _, name = module.name_of(node.func).rpartition(".")
        return name in cls._clocks and owner in {"time", "cos.common.clock", "cos.green.clock"}

    @classmethod
    def _is_duration(cls, module, node: ast.expr, instants: set[str], durations: set[str]) -> bool:
        match node:
            case ast.Name(id=name):
                return name in durations
            case ast.BinOp(left=left, op=ast.Sub(), right=right):
                return all(cls._is_instant(module, side, instants) for side in (left, right))
            case ast.BinOp(left=left, op=ast.Mult() | ast.Div(), right=right):
                return any(
                    cls._is_duration(module, one, instants, durations) and cls._is_number(other)
                    for one, other in ((left, right), (right, left))
                )
        return False

    @classmethod
    def _is_number(cls, node: ast.expr) -> bool:
        if isinstance(node, ast.BinOp):
            return cls._is_number(node.left) and cls._is_number(node.right)
        return isinstance(node, ast.Constant) and isinstance(node.value, int | float)


class TestsAssertSomething:
    """A test that asserts nothing passes whatever the code does.

    What counts: an assert, an error that is expected or raised, a wait with a deadline, or a call of something in the
    same file or its conftests that does one of these.
    """

    name = "assert"
    scope = "tests/"
    escapes = {}
    bad = (
        "def test_a():\n    f()",
        "class TestA:\n    async def test_a(self):\n        await f()",
        "def f():\n    g()\ndef test_a():\n    f()",
    )
    good = (
        "def test_a():\n    assert f()",
        "def test_a():\n    with pytest.raises(ValueError):\n        f()",
        "def test_a(check):\n    check.assert_same(f())",
        "async def test_a(eventually):\n    await eventually(f)",
        "async def test_a():\n    async with asyncio.timeout(9):\n        await f()",
        "def f():\n    assert g()\ndef test_a():\n    f()",
        "def f():\n    g()",
    )
    _proofs = ("assert", "raises", "fail", "eventually", "warns", "timeout", "wait_for")

    @classmethod
    def find(cls, module) -> Found:
        functions = cls._functions(module)
        known = [*functions, *(one for conftest in module.conftests for one in cls._functions(conftest))]
        ours = {function.name for function in known if cls._proves(function)}
        tests = [function for function in functions if function.name.startswith("test_")]
        for function in tests if not module.path.endswith("/conftest.py") else ():
            if not cls._proves(function, ours):
                yield function.lineno, f"{function.name} asserts nothing"

    @staticmethod
    def _functions(module) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
        return [node for node in module.nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]

    @classmethod
    def _proves(cls, function: ast.AST, ours: Container[str] = ()) -> bool:
        for node in ast.walk(function):
            if isinstance(node, ast.Assert | ast.Raise):
                return True
            if isinstance(node, ast.Call):
                called = (
                    node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
                )
                if called.lstrip("_").startswith(cls._proofs) or called in ours:
                    return True
        return False


RULES = [
    TestsDoNotSleep,
    TestsAreNotSkipped,
    TestsUseTheRealThing,
    TestsDoNotAssertSeconds,
    TestsAssertSomething,
]
