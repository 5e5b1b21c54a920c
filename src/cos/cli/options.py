"""Options that many commands share, and the settings that they make."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from cos.config import Settings

DataDir = Annotated[
    Path | None,
    typer.Option(
        "--data-dir",
        help="Folder that holds the data (COS_DATA_DIR).",
        show_default=False,
        readable=False,  # said in COS's own words, which know the way out
    ),
]
Port = Annotated[
    int | None, typer.Option("--port", help="Port of the API on 127.0.0.1, 0 for a free one (COS_PORT).")
]
Host = Annotated[
    str | None,
    typer.Option(
        "--host", help="Address that the API listens on; not loopback: create a token first (COS_HOST)."
    ),
]
ConfigFile = Annotated[
    Path | None,
    typer.Option(
        "--config",
        help="File of settings; default: cos.toml in the data folder (COS_CONFIG).",
        show_default=False,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
ApiUrl = Annotated[
    str | None, typer.Option("--api", help="Address of the API; by default of the COS in the data folder.")
]


def settings(**arguments: Any) -> Settings:
    """Read the settings, with a command's options first."""
    from cos.config import load_settings

    return load_settings(**arguments)
