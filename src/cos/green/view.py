"""The live view of a run: missions, state, time, cost, pass rate."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from rich.console import Group
from rich.table import Table
from rich.text import Text

from cos.green import state as states
from cos.green.clock import now

if TYPE_CHECKING:
    from rich.console import RenderableType

    from cos.green.state import MissionState, RunState

_COLOURS = {
    states.PLANNED: "dim",
    states.WORKING: "cyan",
    states.ANSWERED: "blue",
    states.VERIFIED: "blue",
    states.MERGED: "green",
    states.REFUSED: "red",
    states.BLOCKED: "yellow",
    states.TAKEN_OUT: "red",
}


def view(state: RunState) -> RenderableType:
    """Draw a run as it is now."""
    table = Table(expand=False, pad_edge=False)
    for name in ("wave", "mission", "state", "tests", "time", "cost", "cause"):
        table.add_column(name, overflow="fold" if name == "cause" else "ellipsis", no_wrap=name != "cause")
    for wave in sorted(state.waves):
        for one in state.of_wave(wave):
            table.add_row(
                str(wave), one.mission.id, Text(one.state, style=_COLOURS[one.state]), str(one.mission.expected),
                duration(_seconds(one)), money(one.cost_usd), Text(one.mission.name),
            )  # fmt: skip
            for reason in one.reasons[:1]:
                table.add_row("", "", "", "", "", "", Text(reason, style="dim"))
    parts: list[RenderableType] = [Text.from_markup(headline(state))]
    if state.missions:
        parts.append(table)
    return Group(*parts)


def headline(state: RunState) -> str:
    """Say in one line where a run stands."""
    what = state.verdict or state.status
    text = f"[bold]{state.run}[/bold] {what}"
    if state.suites:
        first, last = state.suites[0].counts, state.suites[-1].counts
        text += f" · {last['passed']} of {last['tests']} pass ({rate(last):.1%}, began at {rate(first):.1%})"
    costs = [one.cost_usd for one in state.missions.values() if one.cost_usd is not None]
    return text + (f" · {money(sum(costs))}" if costs else "")


def rate(counts: dict[str, int]) -> float:
    """Give the pass rate, skips and expected failures counted against it."""
    return counts["passed"] / counts["tests"] if counts["tests"] else 0.0


def duration(seconds: float) -> str:
    """Write seconds as a person reads them."""
    if not seconds:
        return ""
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}:{rest:02d}" if minutes else f"{seconds:.1f} s"


def money(dollars: float | None) -> str:
    """Write a cost; nothing where none was reported."""
    return "" if dollars is None else f"${dollars:.2f}"


def _seconds(one: MissionState) -> float:
    if one.state == states.WORKING and one.started_at:
        return one.seconds + (now() - datetime.fromisoformat(one.started_at)).total_seconds()
    return one.seconds
