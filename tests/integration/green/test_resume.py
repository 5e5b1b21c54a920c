"""kill -9 of the orchestrator at random moments: `resume` always comes to the same end, and does nothing twice."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

MakeProject = Callable[[dict[str, str]], Any]
Parts = Callable[..., dict[str, str]]
Until = Callable[..., bool]

NO_RUN = "There is no run here yet"
LONGEST_SECONDS = 60.0


def ready(project: Any, parts: Parts) -> str:
    """Give an agent that mends one module and cheats on the other at its first attempt."""
    agent: str = project.script(
        {"match": r"`app/one\.py`", "do": [{"replace": "app/one.py", "old": "+ 2", "new": "+ 1"}]},
        {"match": r"`app/two\.py`", "attempt": 1, "do": [{"delete": "tests/test_two.py"}]},
        {"match": r"`app/two\.py`", "do": [{"replace": "app/two.py", "old": "+ 2", "new": "+ 1"}]},
    )
    return agent


def kill_later(project: Any, command: list[str], seconds: float) -> bool:
    """Run a command and kill it, and it alone, after some time; say whether it was killed."""
    process = subprocess.Popen(
        project.command(*command), cwd=project.root, env=project.environment, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    try:
        process.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        return True
    return False


def left_behind(project: Any) -> list[str]:
    """Give processes of this project that outlive their orchestrator."""
    mark = f"COS_GREEN_HOME={project.root}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if mark in (entry / "environ").read_bytes().split(b"\0"):
                found.append(entry.name)
    return found


def test_a_run_that_is_killed_again_and_again_ends_as_one_that_is_not(
    new_project: MakeProject, parts: Parts, until: Until
) -> None:
    dice = random.Random(1)  # noqa: S311 - moments that can be had again
    project = new_project(parts("one", "two"))
    agent = ready(project, parts)

    seconds = 1.0 + dice.random() * 2
    killed = [kill_later(project, ["run", "--agent", agent], seconds)]
    while NO_RUN in project.green("status", code=None) and seconds < LONGEST_SECONDS:
        # Killed before it had written down that it began: there is nothing to resume, so it begins again.
        seconds *= 2
        killed = [kill_later(project, ["run", "--agent", agent], seconds)]
    for _ in range(3):
        killed.append(kill_later(project, ["resume"], 0.5 + dice.random() * 2.5))
    project.green("resume")

    assert any(killed)
    status = project.status()
    assert status["verdict"] == "green"
    assert [mission["state"] for mission in status["missions"]] == ["merged", "refused", "merged"]
    merged = project.git("log", "--format=%s", f"HEAD..{status['branch']}").splitlines()
    assert sorted(line.partition(":")[0] for line in merged) == ["M1", "M3"]
    assert "+ 1" in project.git("show", f"{status['branch']}:app/two.py")
    assert project.git("status", "--porcelain") == ""
    assert until(lambda: not left_behind(project))


def test_a_run_can_be_stopped_and_resumed(new_project: MakeProject, parts: Parts, until: Until) -> None:
    project = new_project(parts("one"))
    agent = project.script({"match": "", "do": [{"wait": 600}]})
    process = subprocess.Popen(
        project.command("run", "--agent", agent),
        cwd=project.root,
        env=project.environment,
        stdout=subprocess.DEVNULL,
    )
    assert until(lambda: "working" in project.green("status", code=None))

    said = project.green("stop")
    process.wait(timeout=60)

    assert "stops after its present step" in said
    assert project.status()["status"] == "stopped"
    project.script({"match": "", "do": [{"replace": "app/one.py", "old": "+ 2", "new": "+ 1"}]})
    assert "All green" in project.green("resume")


def test_two_runs_at_once_are_refused(new_project: MakeProject, parts: Parts, until: Until) -> None:
    project = new_project(parts("one"))
    agent = project.script({"match": "", "do": [{"wait": 600}]})
    process = subprocess.Popen(
        project.command("run", "--agent", agent),
        cwd=project.root,
        env=project.environment,
        stdout=subprocess.DEVNULL,
    )
    assert until((project.root / ".cos/green/log.db").exists)

    said = project.green("run", "--agent", agent, code=50)

    assert "Another `cos green` works in this repository" in said
    process.kill()
    process.wait()
