"""Shows a load run in a terminal while it goes on."""

from __future__ import annotations

from rich.table import Table

from cos.testing.load import LoadReport

_RECENT = 30
_BARS = " ▁▂▃▄▅▆▇█"


def load_table(report: LoadReport) -> Table:
    """Draw the state of a run: what was done, how long it took, and the last half minute as bars."""
    table = Table(title=report.name, caption=report.model, show_header=False, box=None, padding=(0, 2, 0, 0))
    table.add_row("for", f"{report.seconds:.1f} s")
    table.add_row("good", f"{report.ok:,} ({report.per_second:,.1f} a second)")
    failed = ", ".join(f"{count:,} {kind}" for kind, count in report.errors.most_common(5)) or "none"
    table.add_row("failed", failed)
    figures = report.percentiles()
    told = "  ".join(
        f"{name.removeprefix('latency_ms_').replace('_', '.')} {ms:.3g}" for name, ms in figures.items()
    )
    table.add_row("latency, ms", told)
    recent = report.timeline[-_RECENT:]
    table.add_row("a second", _bars([float(one.ok) for one in recent]))
    table.add_row("p95", _bars([one.latency.quantile(0.95) for one in recent]))
    for note in report.notes:
        table.add_row("note", note)
    return table


def _bars(values: list[float]) -> str:
    most = max(values, default=0.0)
    return "".join(_BARS[round(value / most * (len(_BARS) - 1))] if most else " " for value in values)
