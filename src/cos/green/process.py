"""Runs other programs: an argument list each, a time limit each, a marker by which a lost child is known, no shell."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING

from cos.green.clock import monotonic, pause

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

MARKER = "COS_GREEN_HOME"
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


@dataclass(frozen=True, slots=True)
class Ended:
    """How a program ended; `code` is None if it was ended at its time limit."""

    code: int | None
    output: str
    took_s: float


def environment(extra: Mapping[str, str | None]) -> dict[str, str]:
    """Build a child's environment from ours; the one place where `cos green` reads it.

    Args:
        extra: variables to set, or with None to leave out.

    Returns:
        The child's variables, without those of git that would point it at another repository.
    """
    built = {
        name: value for name, value in os.environ.items() if not name.startswith("GIT_") or "AUTHOR" in name
    }
    for name, value in extra.items():
        if value is None:
            built.pop(name, None)
        else:
            built[name] = value
    return built


def find_program(name: str) -> str | None:
    """Find a program on the path, or by its own path; None if it cannot be run."""
    return shutil.which(name)


def die_with_parent() -> None:
    """Ask the kernel (Linux) to end this process when its parent dies; called in a child before it runs."""
    if _libc is not None:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def start(
    command: Sequence[str], *, cwd: Path, env: Mapping[str, str], output: int
) -> subprocess.Popen[bytes]:
    """Start a program as the leader of its own group, which ends with us on Linux.

    Args:
        command: program and arguments.
        cwd: its folder.
        env: its whole environment.
        output: descriptor for both of its outputs.

    Returns:
        The process.
    """
    return subprocess.Popen(  # noqa: S603 - an argument list, never a shell's line
        command,
        cwd=cwd,
        env=dict(env),
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        preexec_fn=die_with_parent if _libc is not None else None,  # noqa: PLW1509 - one system call, no threads here
    )


def finish(process: subprocess.Popen[bytes]) -> None:
    """End a process and its whole group at once, and reap it."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def run(command: Sequence[str], *, cwd: Path, env: Mapping[str, str], limit_s: float) -> Ended:
    """Run a program to its end.

    Args:
        command: program and arguments.
        cwd: its folder.
        env: its whole environment.
        limit_s: seconds after which it and all that it started are killed.

    Returns:
        How it ended, with the last megabyte of what it wrote.
    """
    return run_all([(command, cwd, env)], limit_s=limit_s)[0]


def run_all(
    jobs: Sequence[tuple[Sequence[str], Path, Mapping[str, str]]], *, limit_s: float, at_once: int = 2
) -> list[Ended]:
    """Run several programs, a few at a time.

    Args:
        jobs: command, folder and environment of each.
        limit_s: seconds for each.
        at_once: how many run at the same time.

    Returns:
        How each ended, in their order.
    """
    results: dict[int, Ended] = {}
    running: dict[int, tuple[subprocess.Popen[bytes], IO[bytes], float]] = {}
    waiting = list(enumerate(jobs))
    try:
        while waiting or running:
            while waiting and len(running) < at_once:
                number, (command, cwd, env) = waiting.pop(0)
                file: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - without a name, so a kill leaves nothing behind
                process = start(command, cwd=cwd, env=env, output=file.fileno())
                running[number] = (process, file, monotonic())
            for number, (process, wrote, began) in list(running.items()):
                code = process.poll()
                late = monotonic() - began > limit_s
                if code is None and not late:
                    continue
                finish(process)  # also what the program left behind in its group
                results[number] = Ended(code, _tail(wrote.fileno()), monotonic() - began)
                wrote.close()
                del running[number]
            if running:
                pause(0.005)
    finally:
        for process, wrote, _ in running.values():
            finish(process)
            wrote.close()
    return [results[number] for number in range(len(jobs))]


def _tail(file: int, limit: int = 1_000_000) -> str:
    size = os.fstat(file).st_size
    return os.pread(file, limit, max(0, size - limit)).decode("utf-8", errors="replace")
