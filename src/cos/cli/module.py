"""`cos module`: make a new module, and see which ones installed packages add."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cos.cli.options import DataDir, Json, settings
from cos.cli.screen import say, show_json, show_table

app = typer.Typer(no_args_is_help=True)


def add_to(tree: typer.Typer) -> None:
    """Add this group to the tree."""
    tree.add_typer(app, name="module", help="Add a module to COS, or look at those that are installed.")


@app.callback()
def _group() -> None:
    """Add a module to COS, or look at those that are installed."""


@app.command(name="new")
def new(
    name: Annotated[str, typer.Argument(help="Small letters, digits and _.")],
    package: Annotated[
        Path | None,
        typer.Option(
            "--package", help="New folder for a package of its own; default: into COS's own source here."
        ),
    ] = None,
    root: Annotated[Path, typer.Option("--root", help="Source tree of COS, without --package.")] = Path(),
) -> None:
    """Write a new module: routes, shapes, service, tables with their revision, tests, documentation."""
    from cos.cli.scaffold import draft

    made = draft.package(name, package) if package is not None else draft.feature(name, root)
    for path in made:
        say(str(path))
    if package is not None:
        say(f"Then: cd {package} && pip install -e . && pytest    and restart COS: see docs/modules.md")
    else:
        say("Then: make lint test")


@app.command(name="list")
def installed(data_dir: DataDir = None, as_json: Json = False) -> None:
    """List the modules that installed packages add, and say of each that cannot run why."""
    from cos.runtime.modules import found

    modules = found(settings(data_dir=data_dir)).describe()
    if as_json:
        show_json(modules)
        return
    show_table(
        ("module", "package", "state", "why"),
        [
            (name, one["package"], "usable" if one["error"] is None else "not usable", one["error"] or "")
            for name, one in modules.items()
        ],
    )
