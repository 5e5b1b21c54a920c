"""`cos`: the command tree, and the one place where an error becomes a sentence and an exit code.

The commands load what they need when they are called, so that `cos version` does not pay for a web server. A package
that defines an entry point in the group `cos.commands` adds a command of its own, loaded only when it is used.
"""

from __future__ import annotations

import sys
from importlib.metadata import entry_points
from typing import Any

import click
import typer
from typer.core import TyperGroup

from cos.cli import events, importer, process
from cos.cli.screen import fail
from cos.errors import CosError

INTERRUPTED = 130
BROKEN_PIPE = 141


class WithEntryPoints(TyperGroup):
    """A command group that finds further commands among the installed packages."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Name our own commands, then the found ones."""
        return [*super().list_commands(ctx), *sorted(_found())]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
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
app.add_typer(importer.app, name="import", help="Bring events in from a file.")


def main() -> None:
    """Run the command line and exit."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run one command; gives the exit code instead of raising."""
    try:
        code = app(arguments, standalone_mode=False)
    except CosError as error:
        fail(error.detail)
        return error.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except BrokenPipeError:
        # Who read our output has gone: nothing more to say, not even when the interpreter flushes at its end.
        sys.stdout = None  # type: ignore[assignment]
        return BROKEN_PIPE
    return code if isinstance(code, int) else 0


if __name__ == "__main__":
    main()
