"""Prints causes for a person."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.markup import escape

if TYPE_CHECKING:
    from rich.console import Console

    from cos.green.cause import Cause
    from cos.green.scan import Scan

_TESTS = 5
_FILES = 6


def count(number: int, noun: str) -> str:
    """Give `1 cause` or `6 causes`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def show_scan(scan: Scan, console: Console, *, tests: int = _TESTS) -> None:
    """Print the headline and then each cause, largest first.

    Args:
        scan: what was found.
        console: where to.
        tests: how many node ids to name a cause.
    """
    run = scan.run
    if not scan.causes:
        passed = "" if run.passed is None else f" {count(run.passed, 'test')} passed."
        console.print(f"[green]All green.[/green]{passed}", highlight=False)
        return
    rate = "" if run.pass_rate is None else f", {run.pass_rate:.1%} of {count(run.total or 0, 'test')} pass"
    console.print(
        f"[bold]{count(len(run.failures), 'failure')}, {count(len(scan.causes), 'cause')}[/bold]{rate}",
        highlight=False,
    )
    if scan.broken:
        console.print(
            f"[red bold]Broken infrastructure:[/red bold] {count(len(scan.broken.tests), 'test')} "
            "with one early error; mend it "
            f"before anything else: {escape(scan.broken.pattern)}",
            highlight=False,
        )
    for number, cause in enumerate(scan.causes, 1):
        _show_cause(number, cause, scan, console, tests)
    for note in scan.notes:
        console.print(f"[yellow]{escape(note)}[/yellow]", highlight=False)


def _show_cause(number: int, cause: Cause, scan: Scan, console: Console, tests: int) -> None:
    nature = "" if cause.nature in ("unknown", "deterministic") else f" [yellow]{cause.nature}[/yellow]"
    console.print(
        f"\n[bold]{number}. {escape(cause.name)}[/bold]  [dim]{cause.id}[/dim]{nature}\n"
        f"   {count(len(cause.failures), 'failure')} · {escape(cause.category or cause.kind)} · "
        f"confidence {cause.confidence:.2f}",
        highlight=False,
        soft_wrap=True,
    )
    _row(console, "pattern", cause.pattern)
    _row(console, "together", cause.why)
    _row(console, "example", cause.example.partition("\n")[0][:300])
    if cause.files:
        more = len(cause.files) - _FILES
        _row(console, "files", ", ".join(cause.files[:_FILES]) + (f" and {more} more" if more > 0 else ""))
    for test in cause.tests[:tests]:
        behind = f"  (fails after {scan.polluters[test]})" if test in scan.polluters else ""
        _row(console, "test", test + behind)
    if len(cause.tests) > tests:
        _row(console, "", f"and {count(len(cause.tests) - tests, 'more test')}")


def _row(console: Console, label: str, text: str) -> None:
    console.print(f"   [dim]{label:<9}[/dim]{escape(text)}", highlight=False, soft_wrap=True)
