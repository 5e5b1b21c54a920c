"""The guard's own process: makes the faults that it is asked for, and heals each when its time has come.

It ends each fault when asked, when the fault's deadline passes, and all of them when the other end of its socket
closes, which a kill -9 of the tests also does. Signals that would end it make it heal first. The tests ask it to make
the faults too, and it does one thing at a time, so a fault can never be made after it was healed.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from cos.testing.guard.container import Container
from cos.testing.guard.full_redis import FullRedis
from cos.testing.guard.journal import Journal
from cos.testing.guard.processes import Frozen, Starved
from cos.testing.guard.wound import NotHealed, Refused

if TYPE_CHECKING:
    from cos.testing.guard.wound import Note, Wound

_KINDS: Final[dict[str, Wound]] = {
    "frozen": Frozen(),
    "starved": Starved(),
    "full-redis": FullRedis(),
    "container": Container(),
}
#: An engine that restarts is back within this; what is not healed then stays in the journal for the next guard.
_LAST_TRY_SECONDS: Final = 20.0
_PAUSE_SECONDS: Final = 0.2
#: An entry that could not be healed for a week is about a machine that is no more.
_FORGOTTEN_SECONDS: Final = 7 * 24 * 3600.0


class Guard:
    """The faults of one pytest process."""

    def __init__(self, *, owner: socket.socket, journals: Path) -> None:
        """Heal what dead guards left, then begin a journal.

        Args:
            owner: the tests' end.
            journals: folder of all guards' journals.
        """
        self._owner = owner
        self._faults: dict[str, tuple[str, Note, float]] = {}
        self._retry_at: dict[str, float] = {}
        self._journal = Journal.new(journals)
        for left in Journal.abandoned(journals):
            _heal_abandoned(left)

    def run(self, woken: int) -> None:
        """Serve until the owner has gone, or a byte arrives on `woken`; then heal all."""
        buffered = b""
        while True:
            sources: list[socket.socket | int] = [self._owner, woken]
            readable = select.select(sources, [], [], self._seconds_left())[0]
            self._heal_late_ones()
            if woken in readable:
                break
            if self._owner in readable:
                try:
                    read = self._owner.recv(65536)
                except OSError:
                    break
                if not read:
                    break
                *lines, buffered = (buffered + read).split(b"\n")
                for line in lines:
                    self._serve(json.loads(line))
        self._heal_all()

    def _serve(self, request: dict[str, Any]) -> None:
        answer: dict[str, Any] = {"id": request["id"]}
        try:
            match request["do"]:
                case "arm":
                    self._arm(request["key"], request["kind"], request["wish"], float(request["seconds"]))
                case "heal":
                    self._heal(request["key"])
                case "list":
                    answer["faults"] = sorted(self._faults)
        except (Refused, NotHealed) as error:
            answer["error"] = str(error)
        except OSError as error:
            answer["error"] = f"{request['do']} failed: {error}."
        self.tell(answer)

    def tell(self, answer: dict[str, Any]) -> None:
        """Send the owner a line; that it has gone is seen by the next round."""
        with contextlib.suppress(OSError):
            self._owner.sendall(json.dumps(answer).encode() + b"\n")

    def _arm(self, key: str, kind: str, wish: Note, seconds: float) -> None:
        note = _KINDS[kind].note(wish)
        self._journal.write({"key": key, "kind": kind, "note": note, "at": time.time(), "seconds": seconds})
        self._faults[key] = (kind, note, time.monotonic() + seconds)
        try:
            _KINDS[kind].strike(note)
        except BaseException:
            self._heal(key)
            raise

    def _heal(self, key: str) -> None:
        if key not in self._faults:
            return
        kind, note, _ = self._faults[key]
        _KINDS[kind].heal(note)
        self._journal.write({"healed": key})
        del self._faults[key]
        self._retry_at.pop(key, None)

    def _due(self, key: str) -> float:
        return self._retry_at.get(key, self._faults[key][2])

    def _seconds_left(self) -> float | None:
        if not self._faults:
            return None
        return max(0.0, min(map(self._due, self._faults)) - time.monotonic())

    def _heal_late_ones(self) -> None:
        for key in [key for key in self._faults if self._due(key) <= time.monotonic()]:
            try:
                self._heal(key)
            except (NotHealed, OSError):
                self._retry_at[key] = time.monotonic() + _PAUSE_SECONDS

    def _heal_all(self) -> None:
        """Heal in reverse, and try again for a while where something is in the way."""
        end = time.monotonic() + _LAST_TRY_SECONDS
        while True:
            for key in reversed(list(self._faults)):
                try:
                    self._heal(key)
                except (NotHealed, OSError):
                    continue
            if not self._faults or time.monotonic() > end:
                break
            time.sleep(_PAUSE_SECONDS)
        self._journal.close(remove=not self._faults)


def _heal_abandoned(journal: Journal) -> None:
    left = 0
    for entry in reversed(list(journal.open_faults().values())):
        try:
            _KINDS[entry["kind"]].heal(entry["note"])
            journal.write({"healed": entry["key"]})
        except (NotHealed, OSError, KeyError):
            left += time.time() - entry.get("at", 0.0) < _FORGOTTEN_SECONDS
    journal.close(remove=not left)


def main(arguments: list[str]) -> None:
    """Stand apart from the tests' process group and terminal, say so, and serve.

    Args:
        arguments: the inherited socket's number and the folder of the journals.
    """
    owner = socket.socket(fileno=int(arguments[0]))
    if os.fork():  # nobody waits for the guard, and who ends a tree of processes does not find it there
        os._exit(0)
    os.setsid()
    os.umask(0o077)
    os.chdir("/")
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, lambda _number, _frame: None)
    guard = Guard(owner=owner, journals=Path(arguments[1]))
    guard.tell({"id": 0, "pid": os.getpid()})
    guard.run(woken)


if __name__ == "__main__":
    main(sys.argv[1:])
