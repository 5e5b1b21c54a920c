"""The command line, the environment and the one-off runs of programs behind the guard."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

GUARD: Final = Path(__file__).with_name("guard.py")

# Built from nothing: no PG… variable, preload or locale of the owner reaches a server.
CHILD_ENVIRONMENT: Final = {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}


def guarded(program: Sequence[str], *, stop_signal: int, options: Sequence[str] = ()) -> list[str]:
    """Put the guard before a program.

    Args:
        program: the absolute path and its arguments.
        stop_signal: what the program gets when its owner dies.
        options: further options of the guard.
    """
    owner = (f"parent={os.getpid()}", f"signal={int(stop_signal)}")
    # -I -S: nothing of the owner's environment or site is loaded; the guard is small, quick and predictable.
    return [sys.executable, "-I", "-S", str(GUARD), *owner, *options, "--", *program]


async def run_guarded(
    program: Sequence[str],
    *,
    stop_signal: int,
    timeout_seconds: float,
    options: Sequence[str] = (),
    stdin: bytes = b"",
) -> tuple[int, str]:
    """Run a program to its end; a cancelled or late one is killed.

    Returns:
        The exit code (negative: the signal) and what it printed, standard error included.

    Raises:
        TimeoutError: it took longer than `timeout_seconds`.
    """
    process = await asyncio.create_subprocess_exec(
        *guarded(program, stop_signal=stop_signal, options=options),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env=CHILD_ENVIRONMENT,
    )
    try:
        async with asyncio.timeout(timeout_seconds):
            out, _ = await process.communicate(stdin)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return process.returncode or 0, out.decode(errors="replace")
