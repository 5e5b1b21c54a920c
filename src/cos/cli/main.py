"""`cos`: the command tree, and the one place where an error becomes a sentence and an exit code.

The commands load what they need when they are called, so that `cos version` does not pay for a web server. A package
that defines an entry point in the group `cos.commands` adds a command of its own, loaded only when it is used.
"""

from __future__ import annotations

import gc
import sys
from importlib import import_module
from typing import Any, Final

import typer
from typer.core import TyperGroup

from cos.cli.screen import fail
from cos.errors import CosError

INTERRUPTED = 130
_RARELY: Final = 100_000

#: The modules that add commands, in the order of the help.
_MODULES: Final = (
    "process",
    "events",
    "highway",
    "webhook",
    "backup",
    "config",
    "token",
    "exporter",
    "importer",
    "service",
    "module",
)
#: Where a command is, for those that are used often: only that module is loaded, and only that command made.
_HOME: Final = {
    **dict.fromkeys(("up", "down", "status", "logs", "doctor", "version"), "process"),
    **dict.fromkeys(("log", "events", "tail"), "events"),
    **dict.fromkeys(("backup", "restore", "verify"), "backup"),
    "config": "config",
}


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
    from importlib.metadata import entry_points

    return {point.name: point for point in entry_points(group="cos.commands")}


def tree(only: str | None = None) -> typer.Typer:
    """Make the command tree, or as much of it as one command needs.

    Args:
        only: the first word of the command line.
    """
    app = typer.Typer(
        cls=WithEntryPoints,
        name="cos",
        help="COS records what happens in an author's work once, announces it once, and never loses it.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
    )
    home = _HOME.get(only or "")
    for name in _MODULES if home is None else (home,):
        import_module(f"cos.cli.{name}").add_to(app)
    if home is not None:
        app.registered_commands = [one for one in app.registered_commands if _name(one) == only]
        app.callback()(_group)  # or typer would take the one command for all of `cos`
    return app


def _name(command: Any) -> str:
    return str(command.name or command.callback.__name__)


def _group() -> None:
    """Stand for `cos` itself."""


def main() -> None:
    """Run the command line and exit."""
    # What is loaded stays: looking for rubbish among it again and again takes a fifth of the time that loading takes.
    gc.set_threshold(_RARELY)
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run one command; gives the exit code instead of raising."""
    try:
        # Typer itself shows wrong usage, ends quietly when who reads our output has gone, and always exits.
        tree(arguments[0] if arguments else None)(arguments)
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
