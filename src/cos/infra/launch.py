"""The command line, the environment and the one-off runs of programs behind the guard."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
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


def quickly_guarded(
    program: Sequence[str], *, stop_signal: int, options: Sequence[str] = ()
) -> list[str] | None:
    """Put `setpriv` before a program: the guard's promise from a C program that needs 1 ms instead of 20.

    It differs in one thing: an owner that dies within that millisecond is not noticed. So it is for servers whose
    folder is swept by whoever comes next. Root's rights are given up as capabilities, without a namespace.

    Args:
        program: the absolute path and its arguments.
        stop_signal: what the program gets when its owner dies.
        options: the guard's options.

    Returns:
        None where there is no setpriv, or it cannot do what the options ask.
    """
    found = shutil.which("setpriv", path=CHILD_ENVIRONMENT["PATH"]) if sys.platform == "linux" else None
    if found is None or any(not option.startswith("maybe-namespace=") for option in options):
        return None
    rights = ("--inh-caps=-all", "--bounding-set=-all", "--no-new-privs") if options else ()
    return [
        found,
        f"--pdeathsig={signal.Signals(stop_signal).name.removeprefix('SIG')}",
        *rights,
        "--",
        *program,
    ]


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
