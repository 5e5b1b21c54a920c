"""Small projects that use the kit, each run by a pytest of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

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

    def begin(self, *arguments: str, settings: str = "") -> subprocess.Popen[str]:
        """Start its tests."""
        (self.path / "pytest.ini").write_text(SETTINGS.format(cache=self.cache, more=settings))
        return subprocess.Popen(
            [sys.executable, "-m", "pytest", "-q", *WITHOUT, *arguments],
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
