"""House rules of the event loop: nothing is bound to one too early, and no task is lost."""

from __future__ import annotations

import ast
from collections.abc import Iterator

Found = Iterator[tuple[int, str]]


class NothingIsBoundToALoopAtImport:
    """What is made at import time belongs to whichever loop comes first, and fails in the second one."""

    name = "loop"
    scope = ("src/", "tests/", "bench/")
    escapes = {}
    bad = (
        "import asyncio\nqueue = asyncio.Queue()",
        "from asyncio import Lock\nclass A:\n    lock = Lock()",
        "import asyncio\ndef f(event=asyncio.Event()): ...",
        "import asyncio\nif True:\n    loop = asyncio.get_event_loop()",
        "import asyncio\ntask = asyncio.create_task(f())",
    )
    good = (
        "import asyncio\ndef f():\n    return asyncio.Queue()",
        "import asyncio\nmake = lambda: asyncio.Lock()",
        "import asyncio\nif __name__ == '__main__':\n    asyncio.run(f())",
        "import asyncio\nlock: asyncio.Lock | None = None",
    )
    makers = frozenset(
        {
            "Queue",
            "LifoQueue",
            "PriorityQueue",
            "Event",
            "Lock",
            "Semaphore",
            "BoundedSemaphore",
            "Condition",
            "Barrier",
        }
        | {
            "Future",
            "get_event_loop",
            "new_event_loop",
            "create_task",
            "ensure_future",
            "gather",
            "TaskGroup",
            "Runner",
        }
    )

    @classmethod
    def find(cls, module) -> Found:
        for node in cls._at_import(module.tree):
            name = module.name_of(node.func) if isinstance(node, ast.Call) else ""
            if name.startswith("asyncio.") and name.removeprefix("asyncio.") in cls.makers:
                yield node.lineno, name

    @classmethod
    def _at_import(cls, node: ast.AST) -> Iterator[ast.AST]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
                outside = [*child.decorator_list, *child.args.defaults, *filter(None, child.args.kw_defaults)]
                yield from (inner for part in outside for inner in ast.walk(part))
            elif not isinstance(child, ast.Lambda):
                yield child
                yield from cls._at_import(child)


class TasksAreKept:
    """The loop holds its tasks weakly: one that nobody keeps may vanish half-way, and its error with it."""

    name = "task"
    scope = ("src/", "tests/", "bench/")
    escapes = {}
    bad = (
        "import asyncio\ndef f():\n    asyncio.create_task(g())",
        "import asyncio\ndef f():\n    _ = asyncio.create_task(g())",
        "from asyncio import ensure_future\ndef f():\n    ensure_future(g())",
        "import asyncio\ndef f():\n    asyncio.get_running_loop().create_task(g())",
        "def f(loop):\n    loop.create_task(g())",
    )
    good = (
        "import asyncio\ndef f():\n    task = asyncio.create_task(g())\n    return task",
        "async def f():\n    async with asyncio.TaskGroup() as group:\n        group.create_task(g())",
        "import asyncio\ndef f():\n    tasks.add(asyncio.create_task(g()))",
    )

    @classmethod
    def find(cls, module) -> Found:
        for node in module.nodes:
            dropped = isinstance(node, ast.Expr) or (
                isinstance(node, ast.Assign)
                and all(isinstance(t, ast.Name) and t.id == "_" for t in node.targets)
            )
            if dropped and isinstance(node.value, ast.Call) and cls._makes_task(module, node.value.func):
                yield node.lineno, "a task that nobody keeps"

    @staticmethod
    def _makes_task(module, func: ast.expr) -> bool:
        if module.name_of(func) in {"asyncio.create_task", "asyncio.ensure_future"}:
            return True
        return (
            isinstance(func, ast.Attribute)
            and func.attr == "create_task"
            and "loop" in ast.unparse(func.value)
        )


RULES = [NothingIsBoundToALoopAtImport, TasksAreKept]
