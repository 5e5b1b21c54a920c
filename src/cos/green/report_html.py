"""The same report as one HTML page that needs nothing else: no script, no font, no network."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING

from cos.green import state as states
from cos.green.report import verdict
from cos.green.view import duration, money, rate

if TYPE_CHECKING:
    from cos.green.state import MissionState, RunState

_STYLE = """
:root{color-scheme:light dark;--ok:#16803c;--bad:#b3261e;--dim:#6b7280}
body{font:16px/1.5 system-ui,sans-serif;max-width:64rem;margin:2rem auto;padding:0 1rem}
table{border-collapse:collapse;width:100%}td,th{padding:.3rem .6rem;text-align:left;border-bottom:1px solid #8884}
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}code{font-size:.9em}
.merged{color:var(--ok)}.refused,.blocked,.taken{color:var(--bad)}.dim{color:var(--dim)}
details{margin:.4rem 0}svg{width:100%;height:8rem;margin:1rem 0}
"""


def report_html(state: RunState) -> str:
    """Write a run's report as a page.

    Args:
        state: of the run, over or not.

    Returns:
        HTML; everything that came from outside is escaped.
    """
    rows = "".join(
        f"<tr><td>{'wave ' + str(s.wave) if s.wave else 'start'}</td><td><code>{s.commit[:10]}</code></td>"
        + "".join(
            f"<td class=n>{s.counts[key]}</td>"
            for key in ("tests", "passed", "failing", "skipped", "xfailed")
        )
        + f"<td class=n>{rate(s.counts):.1%}</td></tr>"
        for s in state.suites
    )
    missions = "".join(_mission(one) for one in state.missions.values())
    left = "".join(f"<li>{_t(cause['pattern'])} ({len(cause['tests'])} tests)</li>" for cause in state.left)
    costs = [one.cost_usd for one in state.missions.values() if one.cost_usd is not None]
    spent = sum(one.seconds for one in state.missions.values())
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>"
        f"<title>All green: {_t(state.run)}</title><style>{_STYLE}</style><h1>All green: {_t(state.run)}</h1>"
        f"<p>{_t(verdict(state)).replace('`', '')}</p>{''.join(f'<p class=dim>{_t(note)}</p>' for note in state.notes)}"
        f"<h2>Pass rate</h2><p class=dim>Skips and expected failures count against it.</p>{_curve(state)}"
        "<table><tr><th>after<th>commit<th class=n>tests<th class=n>passed<th class=n>failing<th class=n>skipped"
        f"<th class=n>xfailed<th class=n>pass rate</tr>{rows}</table>"
        f"<h2>Missions</h2>{missions or '<p>None.</p>'}"
        + (f"<h2>Left</h2><ul>{left}</ul>" if left else "")
        + f"<h2>Cost</h2><p>Agents worked {duration(spent) or '0 s'}; "
        f"{money(sum(costs)) if costs else 'no cost was reported'}.</p></html>\n"
    )


def _t(text: str) -> str:
    return html.escape(str(text))


def _mission(one: MissionState) -> str:
    mission = one.mission
    said = "".join(f"<li>{_t(reason)}</li>" for reason in one.reasons)
    tests = "".join(f"<li><code>{_t(test)}</code></li>" for test in mission.targets[:20])
    changed = ", ".join(one.evidence.get("changed", []))
    proof = ""
    if one.state == states.MERGED:
        runs = len(one.evidence.get("runs", []))
        proof = (
            f"<p>red at <code>{one.base[:10]}</code> → green in {runs} runs → merged as "
            f"<code>{one.commit[:10]}</code></p>"
        )
    kept = f"<p class=dim>branch <code>{_t(one.branch)}</code></p>" if one.branch else ""
    return (
        f"<details><summary><b>{_t(mission.id)}</b> <span class={one.state.split()[0]}>{_t(one.state)}</span> "
        f"{_t(mission.name)} <span class=dim>{mission.expected} tests {duration(one.seconds)} "
        f"{money(one.cost_usd)}</span>"
        f"</summary>{proof}<p>{_t(mission.pattern)}</p><ul>{said}</ul>"
        f"<p class=dim>changed: {_t(changed) or 'nothing'}</p>"
        f"{kept}<ul>{tests}</ul></details>"
    )


def _curve(state: RunState) -> str:
    """Draw the pass rate over the runs of the whole suite."""
    rates = [rate(suite.counts) for suite in state.suites]
    if len(rates) < 2:  # noqa: PLR2004 - a line needs two points
        return ""
    step = 100 / (len(rates) - 1)
    points = " ".join(f"{at * step:.2f},{38 - value * 36:.2f}" for at, value in enumerate(rates))
    return (
        "<svg viewBox='0 0 100 40' preserveAspectRatio=none role=img aria-label='pass rate over the waves'>"
        "<line x1=0 y1=2 x2=100 y2=2 stroke=#8886 stroke-width=.3 />"
        "<line x1=0 y1=38 x2=100 y2=38 stroke=#8886 stroke-width=.3 />"
        f"<polyline points='{points}' fill=none stroke=#16803c stroke-width=.8 /></svg>"
    )
