"""`cos config` and `cos reload`: what is set and from where, and telling a running COS to read it again."""

from __future__ import annotations

from dataclasses import asdict

import typer

from cos.cli.options import ConfigFile, DataDir, Json, Port, settings
from cos.cli.screen import say, show_json, show_table


def add_to(app: typer.Typer) -> None:
    """Add these commands to the tree."""
    for command in (config, reload):
        app.command()(command)


def config(
    data_dir: DataDir = None, port: Port = None, file: ConfigFile = None, as_json: Json = False
) -> None:
    """Show every setting: its value, where that came from, and whether a change needs a restart."""
    from cos.config import explain

    found = explain(settings(data_dir=data_dir, port=port, config=file))
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


def reload(data_dir: DataDir = None) -> None:
    """Let the COS of the data folder read its settings file again, without a restart; its log says what changed."""
    from cos.runtime.detach import reload as tell

    say(f"COS reads its settings again (pid {tell(settings(data_dir=data_dir))}); see: cos logs")
