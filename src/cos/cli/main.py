"""`cos`: the command tree, and the one place where an error becomes a sentence and an exit code.

The commands load what they need when they are called, so that `cos version` does not pay for a web server. A package
that defines an entry point in the group `cos.commands` adds a command of its own, loaded only when it is used.
"""

from __future__ import annotations

import sys
from importlib.metadata import entry_points
from typing import Any

import typer
from typer.core import TyperGroup

from cos.cli import backup, config, events, exporter, highway, importer, process
from cos.cli.screen import fail
from cos.errors import CosError

INTERRUPTED = 130


class WithEntryPoints(TyperGroup):
    """A command group that finds further commands among the installed packages."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Name our own commands, then the found ones."""
        return [*super().list_commands(ctx), *sorted(_found())]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Give a command, loading a found one."""
        own = super().get_command(ctx, cmd_name)
        if own is not None or cmd_name not in _found():
            return own
        loaded: Any = _found()[cmd_name].load()
        return typer.main.get_command(loaded) if isinstance(loaded, typer.Typer) else loaded


def _found() -> dict[str, Any]:
    return {point.name: point for point in entry_points(group="cos.commands")}


app = typer.Typer(
    cls=WithEntryPoints,
    name="cos",
    help="COS records what happens in an author's work once, announces it once, and never loses it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
process.add_to(app)
events.add_to(app)
highway.add_to(app)
backup.add_to(app)
config.add_to(app)
app.add_typer(exporter.app, name="export", help="Bring events out into a file.")
app.add_typer(importer.app, name="import", help="Bring events in from a file.")


def main() -> None:
    """Run the command line and exit."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run one command; gives the exit code instead of raising."""
    try:
        # Typer itself shows wrong usage, ends quietly when who reads our output has gone, and always exits.
        app(arguments)
    except CosError as error:
        fail(error.detail)
        return error.exit_code
    except KeyboardInterrupt:
        return INTERRUPTED
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else 0
    return 0


if __name__ == "__main__":
    main()
