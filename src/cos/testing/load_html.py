"""Writes a load report as one HTML file with plots and nothing to load."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from cos.testing.histogram import Histogram
from cos.testing.load import LoadReport

_WIDTH, _HEIGHT = 760, 240
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 24, 16, 34
_TICKS = 5
_ROUND = (1, 2, 2.5, 5, 10)
_POINTS = 1200
_SLOWER_HALF = 0.5
_STYLE = """
:root { color-scheme: light dark; --ink: #1c1e21; --soft: #6b7280; --line: #d5d9e0; --paper: #fff;
  --c0: #2563eb; --c1: #d97706; --c2: #dc2626; }
@media (prefers-color-scheme: dark) { :root { --ink: #e8eaed; --soft: #9aa3b2; --line: #3a4150; --paper: #14171c;
  --c0: #6ea8fe; --c1: #f5b04c; --c2: #ff7b72; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 860px;
  margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.3rem; overflow-wrap: anywhere } h2 { font-size: 1.05rem; margin: 2.2rem 0 .2rem }
h2 small, dt, .legend { color: var(--soft); font-weight: normal; font-size: .85rem }
dl { display: grid; grid-template-columns: repeat(auto-fill, minmax(6.5rem, 1fr)); gap: .8rem 1rem; margin: 1.2rem 0 }
dl div.wide { grid-column: span 2 } dd { margin: 0; font-variant-numeric: tabular-nums }
.figures dd { font-size: 1.25rem }
svg { width: 100%; height: auto; display: block } svg text { fill: var(--soft); font-size: 12px }
@media (max-width: 560px) { svg text { font-size: 22px } }
.grid { stroke: var(--line) } .c0 { stroke: var(--c0) } .c1 { stroke: var(--c1) } .c2 { stroke: var(--c2) }
.series { fill: none; stroke-width: 2; stroke-linejoin: round } .legend { margin: 0 }
.legend span { margin-right: 1.2rem; white-space: nowrap } .legend span::before { content: ""; display: inline-block;
  width: 1rem; border-top: 3px solid; margin-right: .4rem; vertical-align: middle }
.k0::before { color: var(--c0) } .k1::before { color: var(--c1) } .k2::before { color: var(--c2) }
.note { border-left: 4px solid var(--c1); padding-left: .8rem }
"""


@dataclass(frozen=True, slots=True)
class _Line:
    name: str
    points: Sequence[tuple[float, float]]


def load_html(report: LoadReport) -> str:
    """Write the report.

    Args:
        report: of a run that is over.

    Returns:
        A whole HTML document; all text from outside is escaped, and nothing is fetched.
    """
    whole = report.timeline[: int(report.seconds)]  # what is left of a second would look like a collapse
    timeline = list(enumerate(whole or report.timeline))
    speed = [
        _Line("good", [(at, one.ok) for at, one in timeline]),
        _Line("failed", [(at, one.failed) for at, one in timeline]),
    ]
    shares = (("p50", 0.5), ("p95", 0.95), ("p99", 0.99))
    latency = [
        _Line(name, [(at, 1000 * one.latency.quantile(share)) for at, one in timeline])
        for name, share in shares
    ]
    found = (("from when it was due", report.latency), ("from when it was made", report.service))
    curve = [_Line(name, _by_percentile(histogram)) for name, histogram in found]
    told = {
        "Model": report.model,
        "Begun": report.at,
        "For": f"{report.seconds:.1f} s",
        "Good calls": f"{report.ok:,} ({report.per_second:,.1f} a second)",
        "Failed": ", ".join(f"{count:,} × {kind}" for kind, count in report.errors.most_common()) or "none",
    }
    figures = {
        name.removeprefix("latency_ms_").replace("_", "."): f"{ms:.3g} ms"
        for name, ms in report.percentiles().items()
    }
    notes = "".join(f"<p class='note'>{escape(note)}</p>" for note in report.notes)
    ticks = {0.301: "50", 1: "90", 2: "99", 3: "99.9", 4: "99.99", 5: "99.999"}
    return (
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width, initial-scale=1'>"
        f"<title>Load: {escape(report.name)}</title><style>{_STYLE}</style></head><body>"
        f"<h1>{escape(report.name)}</h1>{_list(told, 'wide')}"
        f"<div class='figures'>{_list(figures)}</div>{notes}"
        f"<h2>Calls a second</h2>{_chart(speed, 'calls that ended in each second', at='s')}"
        f"<h2>Latency over time <small>ms</small></h2>{_chart(latency, 'percentiles of each second', at='s')}"
        "<h2>Latency by percentile <small>ms</small></h2>"
        f"{_chart(curve, 'latency by percentile', at='%', ticks=ticks)}"
        "</body></html>\n"
    )


def _list(told: dict[str, str], kind: str = "") -> str:
    return "".join(
        [
            "<dl>",
            *(
                f"<div class='{kind}'><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>"
                for name, value in told.items()
            ),
            "</dl>",
        ]
    )


def _round_step(top: float) -> float:
    """Give a distance between lines that a person counts in, of which at most five reach the top."""
    least = top / _TICKS
    tens = 10.0 ** math.floor(math.log10(least))
    return next(tens * one for one in _ROUND if tens * one >= least * (1 - 1e-9))


def _by_percentile(histogram: Histogram) -> list[tuple[float, float]]:
    """Give the slower half, the share that is slower still on a scale of tens: 90, 99, 99.9 are equally far apart.

    It ends at the slowest call: what lies beyond is not known.
    """
    finest = 1 / (2 * max(histogram.count, 1))
    return [
        (-math.log10(max(1 - share, finest)), 1000 * s)
        for s, share in histogram.shares()
        if share >= _SLOWER_HALF
    ]


def _chart(lines: Sequence[_Line], title: str, *, at: str, ticks: dict[float, str] | None = None) -> str:
    """Draw lines over one axis, from zero, with a legend."""
    points = [point for line in lines for point in line.points]
    if not points:
        return "<p>Nothing was measured.</p>"
    left = min(x for x, _ in points)
    right = max([left + 1e-9, *(x for x, _ in points)])
    step = _round_step(max([1e-9, *(y for _, y in points)]))
    count = math.ceil(max(y for _, y in points) / step - 1e-9) or 1
    top = step * count

    def place(x: float, y: float) -> str:
        across = _LEFT + (x - left) / (right - left) * (_WIDTH - _LEFT - _RIGHT)
        return f"{across:.1f},{_HEIGHT - _BOTTOM - y / top * (_HEIGHT - _TOP - _BOTTOM):.1f}"

    parts = [f"<svg viewBox='0 0 {_WIDTH} {_HEIGHT}' role='img' aria-label='{escape(title)}'>"]
    for number in range(count + 1):
        value = step * number
        x, y = place(left, value).split(",")
        parts.append(f"<line class='grid' x1='{x}' x2='{_WIDTH - _RIGHT}' y1='{y}' y2='{y}'/>")
        parts.append(f"<text x='{_LEFT - 6}' y='{y}' text-anchor='end' dy='4'>{value:,g}</text>")
    every = max(1, math.ceil((right - left) / 7))
    shown = ticks or {
        left + n * every: f"{left + n * every:g}" for n in range(int((right - left) / every) + 1)
    }
    for where, text in shown.items():
        if left - 1e-6 <= where <= right:
            x = place(where, 0).split(",")[0]
            parts.append(
                f"<text x='{x}' y='{_HEIGHT - _BOTTOM + 22}' text-anchor='middle'>{text} {at}</text>"
            )
    for number, line in enumerate(lines):
        kept = line.points[:: max(1, len(line.points) // _POINTS)]
        if kept:
            path = " ".join(place(x, y) for x, y in kept)
            parts.append(f"<polyline class='series c{number}' points='{path}'/>")
    names = (f"<span class='k{number}'>{escape(line.name)}</span>" for number, line in enumerate(lines))
    return "".join([*parts, "</svg><p class='legend'>", *names, "</p>"])
