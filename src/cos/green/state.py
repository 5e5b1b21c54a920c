"""What a run is at: a fold over its events, so that memory never knows more than the disk."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cos.green.mission import Mission, mission_from

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cos.green.log import Event

PLANNED, WORKING, ANSWERED, VERIFIED = "planned", "working", "answered", "verified"
MERGED, REFUSED, BLOCKED, TAKEN_OUT = "merged", "refused", "blocked", "taken out"
OVER = frozenset({MERGED, REFUSED, BLOCKED, TAKEN_OUT})


@dataclass(slots=True)
class MissionState:
    """One mission: planned → working → answered → verified → merged (→ taken out), or refused, or blocked.

    The orchestrator alone moves it, by writing an event down.
    """

    mission: Mission
    base: str
    state: str = PLANNED
    tries: int = 0
    branch: str = ""
    worktree: str = ""
    tip: str = ""
    commit: str = ""
    reasons: list[str] = field(default_factory=list)
    evidence: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    cost_usd: float | None = None
    ended: str = ""
    started_at: str = ""


@dataclass(slots=True)
class Suited:
    """One run of the whole suite on the integration branch; `file` holds each test's outcome."""

    wave: int
    commit: str
    file: str
    counts: dict[str, Any]
    time: str = ""


@dataclass(slots=True)
class RunState:
    """All that is known of one run."""

    run: str
    options: dict[str, Any] = field(default_factory=dict)
    base: str = ""
    status: str = "running"
    verdict: str = ""
    started_at: str = ""
    ended_at: str = ""
    waves: dict[int, list[str]] = field(default_factory=dict)
    wave_base: dict[int, str] = field(default_factory=dict)
    done_waves: set[int] = field(default_factory=set)
    missions: dict[str, MissionState] = field(default_factory=dict)
    suites: list[Suited] = field(default_factory=list)
    causes: list[dict[str, Any]] = field(default_factory=list)
    left: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def wave(self) -> int:
        """The number of the newest wave; 0 before the first."""
        return max(self.waves, default=0)

    def of_wave(self, wave: int) -> list[MissionState]:
        """Give a wave's missions in the order in which they are merged."""
        return [self.missions[name] for name in self.waves.get(wave, [])]


def fold(run: str, events: Iterable[Event]) -> RunState:
    """Build a run's state from its events.

    Args:
        run: its name.
        events: in their order.

    Returns:
        The state.
    """
    state = RunState(run)
    for event in events:
        if event.run == run:
            apply(state, event)
    return state


def apply(state: RunState, event: Event) -> None:
    """Move a state on by one event; kinds that it does not know change nothing."""
    body = event.body
    if event.kind in _OF_RUN:
        _OF_RUN[event.kind](state, body, event.time)
    elif event.kind in _OF_MISSION and body.get("mission") in state.missions:
        _OF_MISSION[event.kind](state.missions[body["mission"]], body, event.time)


def _started(state: RunState, body: dict[str, Any], time: str) -> None:
    state.base, state.options, state.started_at = body["base"], body["options"], time
    state.notes += body.get("notes", [])


def _suite(state: RunState, body: dict[str, Any], time: str) -> None:
    state.suites.append(Suited(body["wave"], body["commit"], body["file"], body["counts"], time))
    if not state.causes:
        state.causes = body.get("causes", [])


def _planned(state: RunState, body: dict[str, Any], _: str) -> None:
    wave = body["wave"]
    state.waves[wave] = [data["id"] for data in body["missions"]]
    state.wave_base[wave] = body["base"]
    for data in body["missions"]:
        state.missions[data["id"]] = MissionState(mission_from(data), body["base"])


def _wave_done(state: RunState, body: dict[str, Any], _: str) -> None:
    state.done_waves.add(body["wave"])


def _ended(state: RunState, body: dict[str, Any], time: str) -> None:
    state.status, state.verdict, state.left, state.ended_at = "ended", body["verdict"], body["left"], time


def _stopped(state: RunState, _: dict[str, Any], time: str) -> None:
    state.status, state.ended_at = "stopped", time


def _resumed(state: RunState, _body: dict[str, Any], _time: str) -> None:
    state.status, state.ended_at = "running", ""


def _working(one: MissionState, body: dict[str, Any], time: str) -> None:
    one.state, one.tries, one.branch, one.worktree = WORKING, body["try"], body["branch"], body["worktree"]
    one.started_at = time


def _answered(one: MissionState, body: dict[str, Any], _: str) -> None:
    one.state, one.tip, one.ended = ANSWERED, body["tip"], body["reason"]
    one.seconds += body["seconds"]
    one.cost_usd = body["cost_usd"] if body["cost_usd"] is not None else one.cost_usd


def _verified(one: MissionState, body: dict[str, Any], _: str) -> None:
    one.state, one.evidence = VERIFIED, body["evidence"]


def _over(kind: str) -> Any:
    def move(one: MissionState, body: dict[str, Any], _: str) -> None:
        one.state = kind
        one.reasons = list(body.get("reasons", []))
        one.evidence = {**one.evidence, **body.get("evidence", {})}
        one.commit = body.get("commit", one.commit)

    return move


_OF_RUN = {
    "run_started": _started,
    "suite_ran": _suite,
    "wave_planned": _planned,
    "wave_done": _wave_done,
    "run_ended": _ended,
    "run_stopped": _stopped,
    "run_resumed": _resumed,
}
_OF_MISSION = {
    "mission_started": _working,
    "agent_ended": _answered,
    "verified": _verified,
    "merged": _over(MERGED),
    "refused": _over(REFUSED),
    "blocked": _over(BLOCKED),
    "taken_out": _over(TAKEN_OUT),
}
