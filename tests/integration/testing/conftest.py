"""Small projects that use the kit, each run by a pytest of its own."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

SETTINGS = """
[pytest]
asyncio_mode = auto
asyncio_default_fixture_loop_scope = function
filterwarnings = error
cos_cache_dir = {cache}
{more}
"""
#: Plugins of this environment that have nothing to do here and take a second to load.
WITHOUT = (
    "-p",
    "no:cacheprovider",
    "-p",
    "no:schemathesis",
    "-p",
    "no:hypothesispytest",
    "-p",
    "no:playwright",
)


@pytest.fixture(scope="session")
def kit_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Prepared clusters for all these projects."""
    return tmp_path_factory.mktemp("kit")


class Project:
    """A project with tests."""

    def __init__(self, path: Path, cache: Path) -> None:
        self.path = path
        self.cache = cache
        path.mkdir(exist_ok=True)

    def write(self, tests: str, *, name: str = "test_it.py") -> None:
        (self.path / name).write_text(tests)

    def configure(self, settings: str = "") -> None:
        (self.path / "pytest.ini").write_text(SETTINGS.format(cache=self.cache, more=settings))

    @staticmethod
    def command(*arguments: str) -> list[str]:
        return [sys.executable, "-m", "pytest", "-q", *WITHOUT, *arguments]

    def begin(self, *arguments: str, settings: str = "") -> subprocess.Popen[str]:
        """Start its tests."""
        self.configure(settings)
        return subprocess.Popen(
            self.command(*arguments),
            cwd=self.path,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, *arguments: str, settings: str = "") -> str:
        """Run its tests; gives what pytest printed."""
        process = self.begin(*arguments, settings=settings)
        out, _ = process.communicate(timeout=100)
        return out


@pytest.fixture
def new_project(tmp_path: Path, kit_cache: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Project]:
    """Make a project in a folder of its own."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return lambda name: Project(tmp_path / name, kit_cache)


@pytest.fixture
def project(new_project: Callable[[str], Project]) -> Project:
    return new_project("project")


NURSERY = """
import json, os, sys
from pathlib import Path
from cos.testing.guarded import GuardLine

for line in sys.stdin:
    wish = json.loads(line)
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        print("ended", flush=True)
        continue
    def step(name):
        sys.stdout.write(f"{name} {os.getpid()}\\n")
        sys.stdout.flush()
    guard = GuardLine(journals=Path(wish["journals"]))
    step("born")
    guard.start()
    step("guarded")
    guard.arm("f", kind=wish["kind"], wish=wish["wish"], seconds=600)
    step("armed")
    guard.heal("f")
    step("healed")
    guard.close()
    step("closed")
    os._exit(0)
"""


class Nursery:
    """Makes owners of one fault each, and kills them where it is told."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", NURSERY], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def owner(self, wish: dict[str, Any], *, step: str, after: float) -> None:
        """Let an owner make and heal a fault, and kill it `after` seconds after it came to `step`."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(wish) + "\n")
        self._process.stdin.flush()
        for line in self._process.stdout:
            if line.strip() == "ended":
                return
            if line.startswith(step):
                end = time.monotonic() + after
                while time.monotonic() < end:
                    time.sleep(0.0005)
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(line.split()[1]), signal.SIGKILL)

    def close(self) -> None:
        self._process.communicate(timeout=20)


@pytest.fixture(scope="session")
def nursery() -> Iterator[Nursery]:
    made = Nursery()
    yield made
    made.close()
