"""Starts agents, each under a warden in a worktree of its own, and learns how they ended."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from cos.green.brief import brief
from cos.green.process import MARKER, environment

if TYPE_CHECKING:
    from cos.green.agents import Agent
    from cos.green.mission import Mission

_WARDEN = Path(__file__).parent / "probe" / "warden.py"


@dataclass(frozen=True, slots=True)
class Answer:
    """How an agent ended; `reason` is empty where it ended by itself. Its code says nothing of its work."""

    code: int | None
    reason: str
    seconds: float
    bytes: int
    cost_usd: float | None


@dataclass(slots=True)
class Dispatcher:
    """Keeps the agents that are at work; `folder` holds a run's briefs, specifications, outputs and results."""

    agent: Agent
    folder: Path
    home: Path
    run: str
    _working: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start(self, mission: Mission, number: int, worktree: Path) -> None:
        """Start the agent of a mission; how it ends is asked with `answer`.

        Args:
            mission: numbered.
            number: which start of this mission it is, from 1.
            worktree: its folder.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        name = f"{mission.id}-{number}"
        text = brief(mission)
        paper, data = self.folder / f"{mission.id}.md", self.folder / f"{mission.id}.json"
        paper.write_text(text, encoding="utf-8")
        data.write_text(json.dumps(mission.as_json(), indent=2), encoding="utf-8")
        command, on_stdin = self.agent.filled(
            {
                "brief": str(paper),
                "text": text,
                "worktree": str(worktree),
                "mission": mission.id,
                "json": str(data),
            }
        )
        spec = self.folder / f"{name}.spec.json"
        budget = mission.budget
        spec.write_text(
            json.dumps(
                {
                    "command": command,
                    "stdin": str(paper) if on_stdin else "",
                    "worktree": str(worktree),
                    "log": str(self.folder / f"{name}.log"),
                    "result": str(self._result(mission.id, number)),
                    "wall_s": budget.wall_s,
                    "idle_s": budget.idle_s,
                    "output_bytes": budget.output_bytes,
                    "cost_usd": budget.cost_usd,
                }
            ),
            encoding="utf-8",
        )
        self._working[mission.id] = subprocess.Popen(  # noqa: S603 - our own warden
            [sys.executable, "-I", str(_WARDEN), str(spec)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=self._environment(mission),
            start_new_session=True,
        )

    def answer(self, mission: str, number: int) -> Answer | None:
        """Give how a mission's agent ended, or None while it works; a dead warden counts as a dead agent."""
        found = self.found(mission, number)
        process = self._working.get(mission)
        if found is None and process is not None and process.poll() is not None:
            found = self.found(mission, number) or Answer(None, "its warden died", 0.0, 0, None)
        if found is not None and process is not None:
            process.wait()
            if process.stdin:
                process.stdin.close()
            del self._working[mission]
        return found

    def works_on(self, mission: str) -> bool:
        """Say whether we started a mission's agent and have not yet taken its answer."""
        return mission in self._working

    def found(self, mission: str, number: int) -> Answer | None:
        """Give the result that a warden left behind, also one of an earlier orchestrator."""
        path = self._result(mission, number)
        if not path.exists():
            return None
        return Answer(**json.loads(path.read_text(encoding="utf-8")))

    def stop(self) -> None:
        """End all agents that are at work."""
        for process in self._working.values():
            if process.stdin:
                process.stdin.close()  # the warden kills its agent when its owner is gone
            process.wait()
        self._working.clear()

    def _result(self, mission: str, number: int) -> Path:
        return self.folder / f"{mission}-{number}.result.json"

    def _environment(self, mission: Mission) -> dict[str, str]:
        return environment({MARKER: str(self.home), **services(self.run, mission.id)})


def services(run: str, mission: str) -> dict[str, str]:
    """Give variables that keep a mission's services and temporary files apart from all others'.

    Args:
        run: the run's name.
        mission: the mission's id.

    Returns:
        Namespaces for the test kit and for COS, a first port of its own, and the mission's name.
    """
    number = int(mission.lstrip("M") or "0")
    space = f"green-{run}-{mission}".lower()
    return {
        "COS_GREEN_RUN": run,
        "COS_GREEN_MISSION": mission,
        "COS_TEST_NAMESPACE": space,
        "COS_REDIS_NAMESPACE": space,
        "COS_GREEN_FIRST_PORT": str(20_000 + number % 400 * 100),
    }
