"""`cos green history`: pass rate, counts, runtime, slowest tests and flakiness over all runs of the suite."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from cos.green.view import duration, rate

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.console import Console

    from cos.green.log import Event

_SLOWEST = 10


@dataclass(slots=True)
class History:
    """Runs of the whole suite, oldest first; `flaky` tests failed in some and not in other runs of one commit."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    slowest: list[tuple[str, float]] = field(default_factory=list)
    flaky: list[tuple[str, int, int]] = field(default_factory=list)

    @property
    def last_rate(self) -> float | None:
        """The pass rate of the newest run, None before the first."""
        return self.rows[-1]["pass_rate"] if self.rows else None

    def as_json(self) -> dict[str, Any]:
        """Give the history as JSON can hold it."""
        return {
            "runs": self.rows,
            "slowest": [{"test": test, "seconds": seconds} for test, seconds in self.slowest],
            "flaky": [{"test": test, "failed": failed, "runs": runs} for test, failed, runs in self.flaky],
        }


def read_history(events: Iterable[Event]) -> History:
    """Gather the runs of the whole suite from the log.

    Args:
        events: of all runs, in their order.
    """
    history = History()
    failed: dict[str, Counter[str]] = defaultdict(Counter)
    runs: Counter[str] = Counter()
    slow: dict[str, float] = {}
    known: Counter[str] = Counter()
    for event in events:
        if event.kind not in ("suite_ran", "scanned"):
            continue
        counts, commit = event.body["counts"], event.body["commit"]
        history.rows.append(
            {
                "time": event.time,
                "run": event.run,
                "commit": commit,
                **{
                    key: counts[key]
                    for key in ("tests", "passed", "failing", "skipped", "xfailed", "duration_s")
                },
                "pass_rate": round(rate(counts), 6),
            }
        )
        if not event.body.get("dirty"):  # with changes that were not committed, two runs are not of one state
            runs[commit] += 1
            failed[commit].update(counts.get("failing_tests", []))
        slow.update(dict(counts.get("slowest", [])))
        known.update(event.body.get("flaky", []))
    history.slowest = sorted(slow.items(), key=lambda item: -item[1])[:_SLOWEST]
    flaky: dict[str, tuple[int, int]] = {test: (count, count) for test, count in known.items()}
    for commit, tests in failed.items():
        for test, count in tests.items():
            if count < runs[commit]:
                flaky[test] = (count, runs[commit])
    history.flaky = sorted((test, *numbers) for test, numbers in flaky.items())
    return history


def show_history(history: History, console: Console, last: int) -> None:
    """Print the newest runs, the slowest tests and the flaky ones."""
    table = Table(pad_edge=False)
    for name in (
        "time",
        "run",
        "commit",
        "tests",
        "passed",
        "failing",
        "skipped",
        "xfailed",
        "took",
        "pass rate",
    ):
        table.add_column(name, no_wrap=True)
    for row in history.rows[-last:]:
        table.add_row(
            row["time"][:19].replace("T", " "), row["run"], row["commit"][:10],
            *(str(row[key]) for key in ("tests", "passed", "failing", "skipped", "xfailed")),
            duration(row["duration_s"]), f"{row['pass_rate']:.1%}",
        )  # fmt: skip
    console.print(table)
    for title, lines in (
        ("Slowest tests", [f"{seconds:8.3f} s  {test}" for test, seconds in history.slowest]),
        (
            "Flaky tests",
            [f"failed in {failed} of {runs} runs  {test}" for test, failed, runs in history.flaky],
        ),
    ):
        if lines:
            console.print(Text(f"\n{title}", style="bold"))
            for line in lines:
                console.print(Text(line))
