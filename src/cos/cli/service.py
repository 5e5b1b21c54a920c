"""`cos service`: what a system's own service manager needs to run COS."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from cos.cli.options import DataDir, settings
from cos.cli.screen import say

app = typer.Typer(no_args_is_help=True)

#: Exit codes after which another start would only fail again: see docs/cli.md.
_HOPELESS = (2, 11, 12, 13, 15, 16, 19, 20, 22, 25)

_UNIT = """\
# {where}
[Unit]
Description=COS, the Creative Operating System
After=network.target

[Service]
ExecStart={program} -m cos.cli.main up --data-dir {folder}
# Reads the settings file again; what needs a restart is told in the journal.
ExecReload=/bin/kill -HUP $MAINPID
{account}
# COS itself stops its Postgres and Redis, in order; what is left after that is ended.
KillMode=mixed
TimeoutStartSec=180
TimeoutStopSec=30
Restart=on-failure
RestartSec=2
RestartPreventExitStatus={hopeless}
UMask=0077
NoNewPrivileges=yes
ProtectSystem=full
LockPersonality=yes

[Install]
WantedBy={target}
"""


def add_to(tree: typer.Typer) -> None:
    """Add this group to the tree."""
    tree.add_typer(app, name="service", help="Let the system run COS.")


@app.callback()
def _group() -> None:
    """Let the system run COS."""


@app.command(name="systemd")
def systemd(
    account: Annotated[
        str | None,
        typer.Option("--account", help="For all of the machine, as this account; default: for you alone."),
    ] = None,
    data_dir: DataDir = None,
) -> None:
    """Print a systemd unit that runs this COS on its data folder, and as a comment where to put it."""
    folder = settings(data_dir=data_dir).data_dir.expanduser().absolute()
    mine = account is None
    where = "~/.config/systemd/user/cos.service" if mine else "/etc/systemd/system/cos.service"
    control = "systemctl --user" if mine else "systemctl"
    say(
        _UNIT.format(
            where=f"{where}; then: {control} daemon-reload && {control} enable --now cos",
            program=_quoted(sys.executable),
            folder=_quoted(folder),
            account="# Your own account." if mine else f"User={account}",
            hopeless=" ".join(str(code) for code in _HOPELESS),
            target="default.target" if mine else "multi-user.target",
        ).rstrip()
    )


def _quoted(path: str | Path) -> str:
    """Write a path as an argument of a unit: `%` and `$` mean something there, and so does a space."""
    text = str(path).replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{text}"' if any(one in text for one in " \t'\"\\;") else text
