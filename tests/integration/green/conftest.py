"""Small real repositories with real faults, scripted agents, and the program itself."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

SOURCE = Path(__file__).resolve().parents[3] / "src"


@dataclass(frozen=True)
class Project:
    """A git repository for one test."""

    root: Path

    def git(self, *arguments: str) -> str:
        name = ["-c", "user.name=a", "-c", "user.email=a@example.invalid"]
        done = subprocess.run(
            ["git", *name, *arguments], cwd=self.root, capture_output=True, text=True, check=True, timeout=60
        )
        return done.stdout

    def write(self, files: dict[str, str]) -> None:
        for name, text in files.items():
            path = self.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")

    def commit(self, files: dict[str, str]) -> str:
        self.write(files)
        self.git("add", "--all")
        self.git("commit", "-q", "-m", "work")
        return self.git("rev-parse", "HEAD").strip()

    def script(self, *rules: dict[str, Any]) -> str:
        """Write a scripted agent outside of the tree and give its name for `--agent`."""
        path = self.root.parent / f"{self.root.name}-agent.json"
        path.write_text(json.dumps({"rules": list(rules)}), encoding="utf-8")
        return f"scripted:{path}"

    @property
    def environment(self) -> dict[str, str]:
        return {
            **{name: value for name, value in os.environ.items() if not name.startswith(("GIT_", "COS_"))},
            "PYTHONPATH": str(SOURCE),
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
            "PYTEST_ADDOPTS": "",
            "COLUMNS": "200",
        }

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "cos.green", *arguments]

    def green(self, *arguments: str, code: int | None = 0) -> str:
        """Run the program to its end and give what it printed; `code` None takes any exit code."""
        done = subprocess.run(
            self.command(*arguments), cwd=self.root, env=self.environment, capture_output=True, text=True,
            check=False, timeout=300,
        )  # fmt: skip
        assert code is None or done.returncode == code, done.stdout + done.stderr
        assert "Traceback (most recent call last)" not in done.stderr, done.stderr
        return done.stdout + done.stderr

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.green("status", "--json"))
        return found

    def missions(self) -> dict[str, dict[str, Any]]:
        return {mission["id"]: mission for mission in self.status()["missions"]}

    def test_at(self, commit: str) -> str:
        """Run the suite of a commit in a checkout of its own and give pytest's last line."""
        folder = self.root.parent / f"check-{commit[:12].replace('/', '-')}"
        self.git("worktree", "add", "--quiet", "--detach", str(folder), commit)
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"], cwd=folder, env=self.environment,
            capture_output=True, text=True, check=False, timeout=120,
        )  # fmt: skip
        self.git("worktree", "remove", "--force", str(folder))
        return done.stdout.strip().splitlines()[-1]


@pytest.fixture
def until() -> Callable[[Callable[[], object], float], bool]:
    """Give a function that looks again and again until something holds or the seconds are over."""

    def wait(holds: Callable[[], object], seconds: float = 60.0) -> bool:
        never, deadline = threading.Event(), time.monotonic() + seconds
        while not holds():
            if time.monotonic() > deadline:
                return False
            never.wait(0.02)
        return True

    return wait


@pytest.fixture
def new_project(tmp_path: Path) -> Callable[[dict[str, str]], Project]:
    """Give a function that makes a repository of some files, committed."""

    def make(files: dict[str, str]) -> Project:
        root = tmp_path / "project"
        root.mkdir()
        project = Project(root)
        project.git("init", "-q")
        project.commit(files)
        return project

    return make


def part(name: str, wrong: str = "+ 2") -> dict[str, str]:
    """Give a module whose one function is wrong, with tests that say so."""
    return {
        f"app/{name}.py": f"def {name}(number):\n    return number {wrong}\n",
        f"tests/test_{name}.py": (
            f"from app.{name} import {name}\n\n\ndef test_{name}():\n    assert {name}(1) == 2\n\n\n"
            f"def test_{name}_of_zero():\n    assert {name}(0) == 1\n"
        ),
    }


@pytest.fixture
def parts() -> Callable[..., dict[str, str]]:
    """Give a function that makes the files of a project with one wrong module for each name."""

    def make(*names: str) -> dict[str, str]:
        files = {"app/__init__.py": "", "README.md": "A project.\n", ".gitignore": "__pycache__/\n"}
        for name in names:
            files |= part(name)
        return files

    return make
