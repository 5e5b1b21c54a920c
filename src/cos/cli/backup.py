"""The commands that bring the whole database into one file, prove it, and bring it back."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cos.cli.options import DataDir, Json, settings
from cos.cli.screen import say, show_json

if TYPE_CHECKING:
    from cos.runtime.backup import Backup

_LINE_SECONDS = 5.0
_MB = 1_000_000

NewFile = Annotated[
    Path,
    typer.Argument(metavar="FILE", help="A new file; packed if it ends in .gz.", show_default=False),
]
File = Annotated[Path, typer.Argument(metavar="FILE", help="What `cos backup` wrote.", show_default=False)]


def add_to(app: typer.Typer) -> None:
    """Add these commands to the tree."""
    for command in (backup, restore, verify):
        app.command()(command)


def backup(file: NewFile, data_dir: DataDir = None, as_json: Json = False) -> None:
    """Write the whole database to a file while COS goes on working: one moment's state, checksummed.

    The file holds everything that was recorded, and secrets of webhooks; only this account may read it (0600).
    """
    import os

    from cos.infra.dump import give_way

    give_way(os.getpid())  # before the rest is loaded, which takes a while too
    from cos.runtime.backup import back_up

    given = settings(data_dir=data_dir)
    with _progress("Backing up", quiet=as_json) as progress:
        done, seconds = _timed(back_up(given, file, progress=progress))
    _tell(done, seconds, f"{done.path} is written", as_json=as_json)


def restore(file: File, data_dir: DataDir = None, as_json: Json = False) -> None:
    """Make a data folder that has no database yet from a backup; then `cos up` runs it.

    Restore only what you trust: a backup may hold programs, and Postgres runs them.
    """
    from cos.runtime.restore import restore as run

    given = settings(data_dir=data_dir)
    with _progress("Restoring", quiet=as_json) as progress:
        step = (lambda _line: None) if as_json else say
        done, seconds = _timed(run(given, file, progress=progress, step=step))
    _tell(done, seconds, f"{file} is restored into {given.data_dir}; start it with: cos up", as_json=as_json)


def verify(file: File, as_json: Json = False) -> None:
    """Prove that a backup is whole, byte by byte, and show what it is of."""
    from cos.runtime.backup import verify as run

    with _progress("Verifying", quiet=as_json) as progress:
        done, seconds = _timed(run(file, progress=progress))
    _tell(done, seconds, f"{file} is whole", as_json=as_json)


def _timed(what: Any) -> tuple[Backup, float]:
    import asyncio

    from cos.common import clock

    began = clock.monotonic()
    return asyncio.run(what), clock.monotonic() - began


def _tell(done: Backup, seconds: float, sentence: str, *, as_json: bool) -> None:
    import msgspec

    manifest = done.manifest
    if as_json:
        sizes = {"file_bytes": done.file_bytes, "database_bytes": done.database_bytes}
        show_json(
            {"file": str(done.path), **sizes, "seconds": round(seconds, 3), **msgspec.to_builtins(manifest)}
        )
        return
    rate = done.database_bytes / _MB / seconds if seconds else 0
    say(
        f"{sentence}: {done.records:,} records of {manifest.created_at[:19].replace('T', ' ')} UTC, "
        f"revision {manifest.revision}, {done.file_bytes / _MB:,.1f} MB, {seconds:.1f} s, {rate:,.0f} MB/s"
    )
    if manifest.extensions_left_out:
        say(f"Left out, for COS does not bring them: extension {', '.join(manifest.extensions_left_out)}")


@contextmanager
def _progress(what: str, *, quiet: bool) -> Iterator[Callable[[int, int], None]]:
    """Show how far it is: a bar at a terminal, a line every few seconds elsewhere."""
    if quiet:
        yield lambda _done, _of: None
    elif sys.stderr.isatty():
        yield from _bar(what)
    else:
        yield _lines(what)


def _bar(what: str) -> Iterator[Callable[[int, int], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    columns = (TextColumn(what), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(what, total=None)
        yield lambda done, of: progress.update(task, completed=done, total=of)


def _lines(what: str) -> Callable[[int, int], None]:
    from cos.common import clock

    last = clock.monotonic()

    def tell(done: int, of: int) -> None:
        nonlocal last
        now = clock.monotonic()
        if now - last >= _LINE_SECONDS:
            last = now
            typer.echo(f"{what}: {done / _MB:,.0f} of about {of / _MB:,.0f} MB", err=True)

    return tell
