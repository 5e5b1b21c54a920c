"""What the commands print: tables for a person at a terminal, plain lines elsewhere, JSON when asked."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any, TextIO, cast

import typer

if TYPE_CHECKING:
    from collections.abc import Sequence


def standard_input() -> IO[bytes]:
    """Give the standard input as bytes; raises BadInput when this process was started without one."""
    from cos.errors import BadInput

    # The type checker does not know that an interpreter may have been started with it closed.
    given = cast("TextIO | None", sys.stdin)
    if given is None:
        raise BadInput("There is no standard input to read.")
    return given.buffer


def standard_output() -> IO[bytes]:
    """Give the standard output for bytes."""
    sys.stdout.flush()
    return sys.stdout.buffer


@contextmanager
def counting(what: str, *, quiet: bool) -> Iterator[Callable[[int], None]]:
    """Show at a terminal how many events are done and how fast; gives what is called with each number of them."""
    if quiet or not sys.stderr.isatty():
        yield lambda _count: None
        return
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (
        SpinnerColumn(),
        TextColumn("{task.completed:,.0f} events"),
        TextColumn("{task.speed:,.0f}/s"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(what)
        yield lambda count: progress.advance(task, count)


def say(line: str) -> None:
    """Print a line."""
    typer.echo(line)


def fail(sentence: str) -> None:
    """Print an error's sentence."""
    typer.echo(f"cos: {sentence}", err=True)


def show_json(value: Any) -> None:
    """Print a value as JSON: indented for a person, one line elsewhere."""
    typer.echo(json.dumps(value, indent=2 if sys.stdout.isatty() else None, ensure_ascii=False))


def show_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows under headings: with rules at a terminal, tab-separated elsewhere."""
    if not sys.stdout.isatty():
        for row in rows:
            typer.echo("\t".join(cell.replace("\t", " ").replace("\n", " ") for cell in row))
        return
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for name in columns:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*(_literal(cell) for cell in row))
    Console().print(table)


def _literal(cell: str) -> str:
    from rich.markup import escape

    return escape(cell)
