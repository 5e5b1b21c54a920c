"""Finds processes that an earlier `cos green` of this repository left behind, by a mark in their environment."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

from cos.green.clock import monotonic, pause
from cos.green.process import MARKER

_GIT_MAY_FINISH_S = 5.0
_PROC = Path("/proc")


def marked(home: Path) -> list[int]:
    """Give the ids of processes that carry this repository's mark, without our own family.

    Args:
        home: the root of the user's tree.
    """
    if not _PROC.is_dir():
        return []  # elsewhere the wardens' pipes alone end what was left
    sign = f"{MARKER}={home}".encode()
    family = _family()
    found = []
    for entry in _PROC.iterdir():
        if not entry.name.isdigit() or int(entry.name) in family:
            continue
        with contextlib.suppress(OSError):
            if sign in (entry / "environ").read_bytes().split(b"\0"):
                found.append(int(entry.name))
    return found


def end_orphans(home: Path) -> int:
    """End what an earlier orchestrator left: git may finish its step first, all else is killed.

    Args:
        home: the root of the user's tree.

    Returns:
        How many processes were killed.
    """
    until = monotonic() + _GIT_MAY_FINISH_S
    killed: set[int] = set()
    while (left := marked(home)) and monotonic() < until * 2:
        for process in left:
            if _name(process) == "git" and monotonic() < until:
                continue
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(process, signal.SIGKILL)
                killed.add(process)
        pause(0.02)
    return len(killed)


def _name(process: int) -> str:
    try:
        return (_PROC / str(process) / "comm").read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def _family() -> set[int]:
    """Give our own id and our ancestors': a run started inside a mission must not end the one that started it."""
    family: set[int] = set()
    current = os.getpid()
    while current > 1 and current not in family:
        family.add(current)
        try:
            text = (_PROC / str(current) / "stat").read_text(encoding="utf-8")
            current = int(text.rpartition(")")[2].split()[1])
        except (OSError, ValueError, IndexError):
            break
    return family
