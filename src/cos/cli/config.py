"""`cos config` and `cos reload`: what is set and from where, and telling a running COS to read it again."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import typer

from cos.cli.options import ConfigFile, DataDir, Json, Port, settings
from cos.cli.screen import fail, say, show_json, show_table

if TYPE_CHECKING:
    from cos.config import Explained, Settings


def add_to(app: typer.Typer) -> None:
    """Add these commands to the tree."""
    for command in (config, reload):
        app.command()(command)


def config(
    data_dir: DataDir = None, port: Port = None, file: ConfigFile = None, as_json: Json = False
) -> None:
    """Show every setting: its value, where that came from, and whether a change needs a restart."""
    from cos.config import explain

    given = settings(data_dir=data_dir, port=port, config=file)
    found = [*explain(given), *_of_modules(given)]
    if as_json:
        show_json([asdict(one) for one in found])
        return
    show_table(
        ("setting", "value", "from", "a change"),
        [
            (
                one.variable,
                "" if one.value is None else str(one.value),
                one.origin,
                "cos reload" if one.live else "needs a restart",
            )
            for one in found
        ],
    )


def _of_modules(given: Settings) -> list[Explained]:
    """Explain the settings of installed modules; one that cannot be used is told at the side."""
    from importlib.metadata import entry_points

    if not entry_points(group="cos.modules"):
        return []
    from cos.runtime.module_settings import explain_module
    from cos.runtime.modules import found

    rows = []
    for one in found(given).installed:
        if one.trouble is not None:
            fail(one.trouble)
        elif one.module is not None and one.module.settings is not None:
            rows += explain_module(given, one.name, one.module.settings)
    return rows


def reload(data_dir: DataDir = None) -> None:
    """Let the COS of the data folder read its settings file again, without a restart.

    What came of it is an event: cos events --type 'config.reload*'.
    """
    from cos.config import folder_without_file
    from cos.errors import BadSetting, NotRunning
    from cos.runtime.detach import reload as tell

    try:
        folder = settings(data_dir=data_dir).data_dir
    except BadSetting as error:
        # It is asked all the same, so that its log and its events tell of what it was asked to take.
        try:
            asked = tell(folder_without_file(data_dir))
        except NotRunning:
            raise error from None
        raise BadSetting(f"{error.detail} COS (pid {asked}) was asked too, and keeps what it has.") from None
    say(f"COS reads its settings again (pid {tell(folder)}); see: cos events --type 'config.reload*'")
