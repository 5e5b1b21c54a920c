"""`cos load URL`: load on an HTTP address, shown while it runs, kept as JSON or HTML."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.live import Live

from cos.errors import BadInput

if TYPE_CHECKING:
    from cos.testing.load import LoadReport

app = typer.Typer(
    name="load",
    help="Put load on an HTTP address and tell how long its answers took.",
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.command()
def load(
    url: Annotated[str, typer.Argument(help="Address, with http or https.")],
    workers: Annotated[int, typer.Option(min=1, help="So many calls at once (closed model).")] = 10,
    rate: Annotated[
        float | None, typer.Option(help="So many calls a second, whatever becomes of them (open model).")
    ] = None,
    even: Annotated[
        bool, typer.Option("--even", help="With --rate: at even distances, not at random.")
    ] = False,
    seconds: Annotated[float, typer.Option(help="For how long.")] = 10.0,
    warm_up: Annotated[float, typer.Option(help="Seconds before that are not counted.")] = 1.0,
    timeout: Annotated[float, typer.Option(help="Seconds after which a call is given up.")] = 30.0,
    method: Annotated[str, typer.Option(help="Of HTTP.")] = "GET",
    header: Annotated[list[str] | None, typer.Option(help="NAME: VALUE, as often as needed.")] = None,
    body: Annotated[Path | None, typer.Option(help="File to send with each call.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of the view.")] = False,
    html: Annotated[Path | None, typer.Option(help="Write a report with plots into this file.")] = None,
) -> None:
    """Put load on an HTTP address and tell how long its answers took, from when each call was due."""
    from cos.testing.load import Closed, Open  # noqa: PLC0415  (loaded when it is called)
    from cos.testing.load_html import load_html  # noqa: PLC0415
    from cos.testing.load_http import load_http  # noqa: PLC0415
    from cos.testing.load_view import load_table  # noqa: PLC0415

    model = (
        Open(rate=rate, arrivals="even" if even else "poisson")
        if rate is not None
        else Closed(workers=workers)
    )
    headers = dict(_header(one) for one in header or [])
    content = _read(body) if body else None
    console = Console(file=sys.stdout)

    async def run(watch: Callable[[LoadReport], None] | None) -> LoadReport:
        return await load_http(
            url,
            model,
            seconds=seconds,
            warm_up_s=warm_up,
            timeout_s=timeout,
            method=method.upper(),
            headers=headers,
            body=content,
            watch=watch,
        )

    if as_json or not sys.stdout.isatty():
        report = asyncio.run(run(None))
    else:
        with Live(console=console, transient=True) as live:
            report = asyncio.run(run(lambda found: live.update(load_table(found))))
    if html is not None:
        _write(html, load_html(report))
    if as_json:
        sys.stdout.write(json.dumps(report.as_json()) + "\n")
    else:
        console.print(load_table(report))


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        raise BadInput(f"The header {text!r} is none: give NAME: VALUE.")
    return name.strip(), value.strip()


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadInput(f"The file {path} cannot be read ({error.strerror}): check the path.") from None


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise BadInput(f"The file {path} cannot be written ({error.strerror}): give another.") from None
