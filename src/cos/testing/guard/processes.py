"""Faults of a process tree: frozen, or short of memory. Linux, where /proc tells who is who."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cos.testing.guard.wound import Refused

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cos.testing.guard.wound import Note

_PARENT: Final = 1
_START: Final = 19
_STATE: Final = 0
_PAGE: Final = resource.getpagesize()
#: A process in the middle of a write to the disk stops only after it.
_STILL_SECONDS: Final = 2.0


def started(pid: int) -> int | None:
    """Tell when a process started, in the kernel's ticks: with its id that names it for ever; None when it is gone."""
    fields = _fields(pid)
    return int(fields[_START]) if fields else None


def tree(pid: int) -> list[list[int]]:
    """List a process and all below it as pairs of id and start, parents first."""
    below: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):  # noqa: PTH208  (pathlib's way takes twice as long)
        fields = _fields(int(name)) if name.isdigit() else None
        if fields:
            below.setdefault(int(fields[_PARENT]), []).append(int(name))
    return list(_walk(pid, below))


def _walk(pid: int, below: dict[int, list[int]]) -> Iterator[list[int]]:
    start = started(pid)
    if start is not None:
        yield [pid, start]
    for child in below.get(pid, []):
        yield from _walk(child, below)


def _fields(pid: int) -> list[str] | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    return text.rpartition(")")[2].split()  # its name may hold spaces and brackets


class Frozen:
    """SIGSTOP for a process and all below it: it holds its connections and answers nobody."""

    def note(self, wish: Note) -> Note:
        """Keep the tree as it is now; healing looks for younger members as well."""
        return {"members": _tree_of(wish)}

    def strike(self, note: Note) -> None:
        """Stop the parents first, so that none is born in between; return when each stands still."""
        for _ in range(3):
            members = tree(note["members"][0][0])
            for pid, start in members:
                _send(pid, start, signal.SIGSTOP)
            if len(members) == len(tree(note["members"][0][0])):
                break
        # The kernel acts on a signal when it next has the process in hand, which on a busy machine takes a while.
        until = _now() + _STILL_SECONDS
        while any(_moves(pid, start) for pid, start in members) and _now() < until:
            time.sleep(0.0005)

    def heal(self, note: Note) -> None:
        """Let them all go on."""
        head = note["members"][0]
        young = tree(head[0]) if started(head[0]) == head[1] else []
        for pid, start in {(pid, start) for pid, start in [*note["members"], *young]}:
            _send(pid, start, signal.SIGCONT)


class Starved:
    """A limit on memory where the process is now: whatever needs more is refused it."""

    def note(self, wish: Note) -> Note:
        """Keep every member's limits."""
        if sys.platform != "linux":
            raise Refused("out_of_memory() of a Postgres works on Linux only.")
        return {
            "members": [
                [pid, start, *resource.prlimit(pid, resource.RLIMIT_AS)] for pid, start in _tree_of(wish)
            ]
        }

    def strike(self, note: Note) -> None:
        """Put the soft limit where each stands."""
        for pid, start, _soft, hard in note["members"]:
            with contextlib.suppress(OSError):
                used = int(Path(f"/proc/{pid}/statm").read_text().split()[0]) * _PAGE
                _limit(pid, start, used, hard)

    def heal(self, note: Note) -> None:
        """Give the limits back, to those too that were born under them."""
        head, soft, hard = note["members"][0][:2], note["members"][0][2], note["members"][0][3]
        known = {(pid, start): (before, most) for pid, start, before, most in note["members"]}
        young = tree(head[0]) if started(head[0]) == head[1] else []
        for pid, start in young:
            known.setdefault((pid, start), (soft, hard))
        for (pid, start), (before, most) in known.items():
            _limit(pid, start, before, most)


def _limit(pid: int, start: int, soft: int, hard: int) -> None:
    if sys.platform == "linux" and started(pid) == start:
        with contextlib.suppress(ProcessLookupError):
            resource.prlimit(pid, resource.RLIMIT_AS, (soft, hard))


def _now() -> float:
    return time.monotonic()  # house: clock (a process of its own, that loads nothing of COS)


def _moves(pid: int, start: int) -> bool:
    fields = _fields(pid)
    return fields is not None and int(fields[_START]) == start and fields[_STATE] not in "TtZX"


def _tree_of(wish: Note) -> list[list[int]]:
    members = tree(wish["pid"])
    if not members:
        raise Refused(f"There is no process {wish['pid']} any more: start the server again first.")
    return members


def _send(pid: int, start: int, number: int) -> None:
    if started(pid) == start:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
