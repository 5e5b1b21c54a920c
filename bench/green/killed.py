"""Kills the orchestrator at random moments, 100 times in all, and checks that each run ends as an undisturbed one does.

    python bench/green/killed.py [--kills 100] [--seed 1]

Each run has three modules to mend; one agent cheats first, one is slow. What is compared: the tree of the integration
branch, the end of each mission, how often each agent's finished work was taken, and that nothing is left running.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[2] / "src"
NAMES = ("one", "two", "three")
NO_RUN = 49


def environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    return {**kept, "PYTHONPATH": str(SOURCE), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTEST_ADDOPTS": ""}


def git(root: Path, *arguments: str) -> str:
    name = ["-c", "user.name=a", "-c", "user.email=a@example.invalid"]
    fixed = {
        **environment(),
        "GIT_AUTHOR_DATE": "2024-01-01T00:00:00Z",
        "GIT_COMMITTER_DATE": "2024-01-01T00:00:00Z",
    }
    done = subprocess.run(
        ["git", *name, *arguments], cwd=root, env=fixed, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def make(folder: Path) -> tuple[Path, str]:
    root = folder / "project"
    (root / "app").mkdir(parents=True)
    (root / "tests").mkdir()
    (root / "app" / "__init__.py").write_text("")
    for name in NAMES:
        (root / "app" / f"{name}.py").write_text(f"def {name}(number):\n    return number + 2\n")
        (root / "tests" / f"test_{name}.py").write_text(
            f"from app.{name} import {name}\n\n\ndef test_{name}():\n    assert {name}(1) == 2\n"
        )
    git(root, "init", "-q")
    git(root, "add", "--all")
    git(root, "commit", "-q", "-m", "work")
    mend = {name: {"replace": f"app/{name}.py", "old": "+ 2", "new": "+ 1"} for name in NAMES}
    rules = [
        {"match": r"`app/one\.py`", "do": [{"wait": 0.3}, mend["one"]]},
        {"match": r"`app/two\.py`", "attempt": 1, "do": [{"delete": "tests/test_two.py"}]},
        {"match": r"`app/two\.py`", "do": [mend["two"]]},
        {"match": r"`app/three\.py`", "do": [mend["three"], {"commit": "mend"}]},
    ]
    script = folder / "agent.json"
    script.write_text(json.dumps({"rules": rules}))
    return root, f"scripted:{script}"


def run(root: Path, *arguments: str, seconds: float | None = None) -> bool:
    """Run a command; kill it after some seconds; say whether it was killed."""
    process = subprocess.Popen(
        [sys.executable, "-m", "cos.green", *arguments], cwd=root, env=environment(), start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        _, problem = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
        return True
    if process.returncode not in (0, 49):
        raise SystemExit(f"{arguments}: exit code {process.returncode}: {problem.decode()}")
    return False


def outcome(root: Path) -> dict[str, object] | None:
    done = subprocess.run(
        [sys.executable, "-m", "cos.green", "status", "--json"],
        cwd=root,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode == NO_RUN:
        return None
    status = json.loads(done.stdout)
    log = git(root, "log", "--format=%s", f"HEAD..{status['branch']}").splitlines()
    return {
        "verdict": status["verdict"],
        "missions": [mission["state"] for mission in status["missions"]],
        "tree": git(root, "rev-parse", f"{status['branch']}^{{tree}}"),
        "commits": sorted(log),
        "user": git(root, "status", "--porcelain"),
    }


def left_behind(root: Path) -> int:
    mark = f"COS_GREEN_HOME={root}".encode()
    count = 0
    for entry in Path("/proc").iterdir():
        try:
            count += entry.name.isdigit() and mark in (entry / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
    return count


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    dice = random.Random(asked.seed)  # noqa: S311 - moments that can be had again
    with tempfile.TemporaryDirectory(prefix="cos-green-kill-") as folder:
        root, agent = make(Path(folder))
        began = time.monotonic()
        run(root, "run", "--agent", agent)
        took, wanted = time.monotonic() - began, outcome(root)
    print(f"undisturbed: {took:.1f} s, {wanted}", flush=True)
    kills = runs = 0
    while kills < asked.kills:
        with tempfile.TemporaryDirectory(prefix="cos-green-kill-") as folder:
            root, agent = make(Path(folder))
            here = int(run(root, "run", "--agent", agent, seconds=0.3 + dice.random() * took))
            while here and here < 12 and run(root, "resume", seconds=0.3 + dice.random() * took * 0.6):
                here += 1
            run(root, "resume")
            found = outcome(root)
            if found is None:  # killed before the run was written down: there is nothing to resume
                continue
            until = time.monotonic() + 20
            while left_behind(root) and time.monotonic() < until:
                time.sleep(0.05)
            kills, runs = kills + here, runs + 1
            if found != wanted or left_behind(root):
                raise SystemExit(f"after {here} kills: {found}, {left_behind(root)} processes left")
            print(f"run {runs}: {here} kills, the same end ({kills} in all)", flush=True)
    print(f"{kills} kills in {runs} runs: every run ended as the undisturbed one")


if __name__ == "__main__":
    main()
