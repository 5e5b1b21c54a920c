"""What a run's report says, in Markdown: proof of each cause, what was refused and why, pass rate over time, cost."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cos.green import state as states
from cos.green.view import duration, money, rate

if TYPE_CHECKING:
    from cos.green.state import MissionState, RunState

_TESTS = 10


def report_markdown(state: RunState) -> str:
    """Write a run's report.

    Args:
        state: of the run, over or not.

    Returns:
        Markdown.
    """
    lines = [f"# All green: {state.run}", "", verdict(state), ""]
    lines += [f"- {note}" for note in state.notes]
    lines += ["", "## Pass rate", "", "Skips and expected failures count against it.", ""]
    lines += [
        "| after | commit | tests | passed | failing | skipped | xfailed | pass rate |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for suite in state.suites:
        c = suite.counts
        after = f"wave {suite.wave}" if suite.wave else "the start"
        lines.append(
            f"| {after} | `{suite.commit[:10]}` | {c['tests']} | {c['passed']} | {c['failing']} | {c['skipped']} | "
            f"{c['xfailed']} | {rate(c):.1%} |"
        )
    lines += ["", "## Causes fixed", ""]
    for one in (one for one in state.missions.values() if one.state == states.MERGED):
        lines += _fixed(one, state)
    lines += ["", "## Refused, blocked or taken out", ""]
    for one in (
        one for one in state.missions.values() if one.state in states.OVER and one.state != states.MERGED
    ):
        lines += _not_fixed(one)
    if state.left:
        lines += ["", "## Left", ""]
        lines += [
            f"- {cause['pattern']} ({len(cause['tests'])} tests): {', '.join(cause['tests'][:3])}"
            for cause in state.left
        ]
    costs = [one.cost_usd for one in state.missions.values() if one.cost_usd is not None]
    spent = sum(one.seconds for one in state.missions.values())
    lines += [
        "",
        "## Cost",
        "",
        f"Agents worked {duration(spent) or '0 s'}; {money(sum(costs)) if costs else 'no cost was reported'}.",
        "",
    ]
    return "\n".join(lines)


def verdict(state: RunState) -> str:
    """Say in a sentence how a run ended."""
    where = f"on the branch `cos-green/{state.run}/integration`"
    if state.verdict == "green":
        counts = state.suites[-1].counts
        silent = counts["skipped"] + counts["xfailed"]
        but = f" ({silent} tests are skipped or expected to fail, as before)" if silent else ""
        return f"All green{but} {where}. To take it over: `git merge cos-green/{state.run}/integration`."
    if state.verdict == "blocked":
        tests = sum(len(cause["tests"]) for cause in state.left)
        return f"Blocked: {tests} tests are still red {where}; what was merged there holds."
    return f"The run is {state.status}; `cos green resume` goes on."


def _fixed(one: MissionState, state: RunState) -> list[str]:
    mission = one.mission
    proof = one.evidence.get("runs", [])
    later = [suite for suite in state.suites if suite.wave >= mission.wave]
    still = all(not set(mission.targets) & set(suite.counts.get("failing_tests", [])) for suite in later)
    lines = [
        f"### {mission.id}: {mission.name}",
        "",
        f"- red: {mission.expected} tests failed at `{one.base[:10]}` with {mission.pattern}",
        (
            f"- green: {len(mission.targets)} tests passed in {len(proof)} runs in random order "
            "and in a fresh checkout"
        ),
        f"- still green: {'yes' if still else 'no'}, in {len(later)} runs of the whole suite since",
        f"- changed: {', '.join(one.evidence.get('changed', []))}",
        f"- commit `{one.commit[:10]}`, {duration(one.seconds) or '0 s'} {money(one.cost_usd)}".rstrip(),
        "",
    ]
    return [*lines, *(f"  - `{test}`" for test in mission.targets[:_TESTS]), ""]


def _not_fixed(one: MissionState) -> list[str]:
    mission = one.mission
    return [
        f"### {mission.id}: {mission.name} ({one.state}, attempt {mission.attempt})",
        "",
        *(f"- {reason}" for reason in one.reasons),
        f"- the work is kept on `{one.branch}`",
        "",
    ]
