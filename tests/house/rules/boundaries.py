"""House rules of where things are read and made: each source of the outside has one door."""

from __future__ import annotations

from collections.abc import Iterator

Found = Iterator[tuple[int, str]]


class FrameworkStaysAtTheEdge:
    """A service that knows its web framework cannot be called from the command line, a subscriber or a test."""

    name = "framework"
    scope = "src/"
    escapes = {"src/cos/backend/*": "the edge itself"}
    bad = ("import fastapi", "from fastapi import Depends", "from starlette.responses import Response")
    good = ("import httpx", "text = 'import fastapi'", "from starlette.types import ASGIApp")

    @staticmethod
    def find(module) -> Found:
        for line, name in module.imports:
            if name.split(".")[0] in {"fastapi", "starlette"} and not name.startswith("starlette.types"):
                yield line, name


class EnvironmentIsReadInConfig:
    """A setting that is read anywhere else is validated nowhere and documented nowhere."""

    name = "environment"
    scope = "src/"
    escapes = {
        "src/cos/config.py": "the one reader",
        "src/cos/green/process.py": "a child's environment is ours without what git sets",
        "src/cos/green/probe/*": "runs alone inside another project's tests",
    }
    bad = (
        "import os\nos.environ['A']",
        "import os as o\no.getenv('A')",
        "from os import environ",
        "from os import getenv as g",
    )
    good = ("import os\nos.getpid()", "environ = {}\nenviron['A']")

    @staticmethod
    def find(module) -> Found:
        yield from module.uses(
            frozenset({"os.environ", "os.environb", "os.getenv", "os.putenv", "os.getenvb"})
        )


class TimeComesFromTheClock:
    """Time that is read past the clock cannot be moved by a test, which then has to wait for it."""

    name = "clock"
    scope = "src/"
    escapes = {
        "src/cos/common/clock.py": "the clock",
        "src/cos/green/clock.py": "green stands apart from the rest of COS and has its own",
        "src/cos/green/probe/*": "runs alone inside another project's tests",
        "src/cos/testing/stopwatch.py": "a test that moves the clock must not move a measurement",
        "src/cos/infra/guard.py": "a program of its own that must start in milliseconds and imports nothing of COS",
        "src/cos/testing/guard/program.py": "another such program",
    }
    bad = (
        "from datetime import datetime\ndatetime.now()",
        "import datetime as dt\ndt.datetime.utcnow()",
        "from datetime import date\nfield(default_factory=date.today)",
        "import time\ntime.time()",
        "from time import monotonic as m",
        "import time\ntime.perf_counter_ns()",
    )
    good = (
        "import time\ntime.strftime('%Y')",
        "from cos.common import clock\nclock.monotonic()",
        "loop.time()",
    )
    names = frozenset(
        {f"datetime.datetime.{name}" for name in ("now", "utcnow", "today")}
        | {"datetime.date.today"}
        | {f"time.{name}{ns}" for name in ("time", "monotonic", "perf_counter") for ns in ("", "_ns")}
    )

    @classmethod
    def find(cls, module) -> Found:
        yield from module.uses(cls.names)


class RandomnessComesFromCommon:
    """An id made anywhere else sorts nowhere, and a random choice made anywhere else cannot be repeated."""

    name = "random"
    scope = "src/"
    escapes = {
        "src/cos/common/*": "the one source",
        "src/cos/testing/proxy/weather.py": "a program of its own that imports nothing of COS but itself",
        "src/cos/green/probe/*": "runs alone inside another project's tests",
    }
    bad = (
        "import random",
        "from secrets import token_hex",
        "import uuid\nuuid.uuid4()",
        "from uuid import uuid1",
        "import os\nos.urandom(8)",
    )
    good = ("from uuid import UUID", "from cos.common.ids import uuid7\nuuid7()")

    @staticmethod
    def find(module) -> Found:
        yield from (
            (line, name) for line, name in module.imports if name.split(".")[0] in {"random", "secrets"}
        )
        yield from module.uses(frozenset({"uuid.uuid1", "uuid.uuid4", "os.urandom"}))


class SharedPartsStandAlone:
    """`cos.green` and `cos.testing` also work in a project that has never heard of COS."""

    name = "alone"
    scope = ("src/cos/green/", "src/cos/testing/")
    escapes = {}
    bad = ("from cos.memory.event import Event", "import cos.runtime")
    good = ("from cos.errors import CosError", "from cos import __version__")
    allowed = {"green": {"errors"}, "testing": {"errors", "common", "infra"}}

    @classmethod
    def find(cls, module) -> Found:
        part = module.path.split("/")[2]
        allowed = cls.allowed.get(part, {"errors"}) | {part, "__version__"}
        for line, name in module.imports:
            if name.startswith("cos.") and name.split(".")[1] not in allowed:
                yield line, name


RULES = [
    FrameworkStaysAtTheEdge,
    EnvironmentIsReadInConfig,
    TimeComesFromTheClock,
    RandomnessComesFromCommon,
    SharedPartsStandAlone,
]
