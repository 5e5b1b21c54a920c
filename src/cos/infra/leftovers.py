"""Finds and ends servers that an earlier owner left behind in a folder."""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING, Final

import psutil

from cos.common import clock

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_POLL_SECONDS: Final = 0.01


def find_leftovers(folder: Path, *, program: str) -> list[psutil.Process]:
    """List the living processes of `program` that work in `folder`.

    A process id in a file proves nothing (ids are reused); that name and that working folder together do.
    """
    found = []
    for process in psutil.process_iter():
        try:
            if process.name() == program and process.cwd() == str(folder):
                found.append(process)
        except psutil.Error:
            continue
    return found


def end_leftovers(folder: Path, *, program: str, steps: Sequence[tuple[int, float]]) -> list[int]:
    """End what `find_leftovers` finds, gently first; blocks, so call it in a thread.

    Args:
        folder: the data folder of the server.
        program: the name of its processes.
        steps: signal and seconds to wait after it, the last one SIGKILL.

    Returns:
        The ids of the processes that were there.
    """
    found = find_leftovers(folder, program=program)
    alive = found
    for number, seconds in steps:
        if not alive:
            break
        for process in _heads(alive):
            _signal(process, number)
            _signal(process, signal.SIGCONT)  # a paused one could not follow
        _wait(alive, seconds)
        # A parent may have died between two looks and left children that were not in the list.
        alive = find_leftovers(folder, program=program)
    return [process.pid for process in found]


def _heads(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Keep those whose parent is not in the list: a server ends its own children."""
    pids = {process.pid for process in processes}
    return [process for process in processes if _parent(process) not in pids]


def _wait(processes: list[psutil.Process], seconds: float) -> None:
    deadline = clock.monotonic() + seconds
    while any(_lives(process) for process in processes) and clock.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)


def _lives(process: psutil.Process) -> bool:
    """Tell whether it still works; where process 1 collects nobody, a dead orphan stays a zombie."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _parent(process: psutil.Process) -> int | None:
    try:
        return process.ppid()
    except psutil.Error:
        return None


def _signal(process: psutil.Process, number: int) -> None:
    try:
        process.send_signal(number)
    except psutil.Error:
        return
