"""`cos export`: the log as a file that any program can read and `cos import` can bring in again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cos.cli.options import DataDir, Json, settings
from cos.cli.screen import counting, say, show_json, standard_output

app = typer.Typer(no_args_is_help=True)


def add_to(tree: typer.Typer) -> None:
    """Add this group to the tree."""
    tree.add_typer(app, name="export", help="Bring events out into a file.")


@app.callback()
def _group() -> None:
    """Bring events out."""


@app.command(name="events")
def events(
    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE", help="A new file, packed if it ends in .gz; - writes standard output."
        ),
    ],
    module: Annotated[str | None, typer.Option("--module", "-m", help="Of this module only.")] = None,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Write every event of the log as a line of JSON, with all that it carries, in order.

    `cos import events` brings the file into a COS: ids, times, prompts and data are kept to the byte, and an export of
    that COS is the same file. COS may run meanwhile, or not.
    """
    import asyncio

    from cos.common import clock
    from cos.runtime.exchange import export, export_to_file

    given = settings(data_dir=data_dir)
    began = clock.monotonic()
    with counting("export", quiet=as_json) as advance:
        if file == "-":
            count = asyncio.run(export(given, standard_output(), module=module, advance=advance))
        else:
            count = asyncio.run(export_to_file(given, Path(file), module=module, advance=advance))
    seconds = clock.monotonic() - began
    if file == "-":
        return  # standard output is the file
    if as_json:
        show_json({"events": count, "file": file, "seconds": round(seconds, 3)})
        return
    say(f"{count:,} events are in {file}; {count / seconds if seconds else 0:,.0f} events/s")
