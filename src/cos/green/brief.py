"""Writes a mission as the Markdown brief that an agent reads."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cos.green.plan import verify_line

if TYPE_CHECKING:
    from cos.green.mission import Mission

_SHOWN_TESTS = 40


def brief(mission: Mission) -> str:
    """Write a mission down.

    Args:
        mission: numbered.

    Returns:
        Markdown.
    """
    lines = [
        f"# {mission.id}: {mission.name}",
        "",
        f"Make {len(mission.targets)} failing tests pass by mending their one root cause in the code under test.",
        "",
        f"- Cause {mission.cause}: {mission.pattern}",
        f"- Why these belong together: {mission.why}",
        f"- Category: {mission.category or 'other'}; priority {mission.priority} of 9 (1 is the most urgent)",
        f"- Expected: {mission.expected} tests turn green",
        f"- Attempt {mission.attempt}",
        "",
        "## You may write",
        "",
        *(f"- `{path}`" for path in mission.write),
        *(f"- `{path}` (granted)" for path in mission.granted),
        *(f"- {reason}" for reason in mission.grant_reasons),
        "",
        "Everything else is read-only: any other change rejects the whole work. Read in particular:",
        "",
        *(f"- `{path}`" for path in mission.read[:_SHOWN_TESTS]),
        "",
        "## What will be refused",
        "",
        "Skips, expected failures, deleted or emptied tests, removed or changed assertions, loosened numbers, reruns,",
        "mocks of the project's own code, broad excepts, deselected files and changed options of pytest.",
        "",
        "## Tests to turn green",
        "",
        *(f"- `{test}`" for test in mission.targets[:_SHOWN_TESTS]),
    ]
    if len(mission.targets) > _SHOWN_TESTS:
        lines.append(f"- and {len(mission.targets) - _SHOWN_TESTS} more (all are in the JSON)")
    lines += [
        "",
        "## What they say",
        "",
        "```text",
        *mission.example.replace("```", "'''").splitlines()[:60],
        "```",
    ]
    if mission.hints:
        lines += ["", "## What earlier attempts met", "", *(f"- {hint}" for hint in mission.hints)]
    lines += [
        "",
        "## How it is verified",
        "",
        f"    {verify_line(mission)}",
        "",
        "Three times in random order, then in a fresh checkout, then with the tests of all that you touched. Leave",
        "your changes in the working tree or commit them; do not push. The exit code of your program is not believed.",
        f"Limits: {mission.budget.wall_s:g} s in all, {mission.budget.idle_s:g} s without progress, "
        f"{mission.budget.output_bytes} bytes of output"
        + (f", ${mission.budget.cost_usd:g}." if mission.budget.cost_usd is not None else "."),
        "",
    ]
    return "\n".join(lines)
