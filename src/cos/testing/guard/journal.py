"""What a guard has done and not yet undone, on disk before it is done."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

_SUFFIX: Final = ".journal"


class Journal:
    """One guard's file: a line for each fault before it is made, and one after it is healed.

    The file is locked for as long as its guard lives. One that can be locked belongs to a dead guard.
    """

    def __init__(self, path: Path) -> None:
        """Open or create the file; `take` locks it."""
        self.path = path
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    @classmethod
    def new(cls, folder: Path) -> Journal:
        """Begin this guard's own journal in `folder`."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        while True:
            made = cls(folder / f"{os.getpid()}{_SUFFIX}")
            # A sweeper may hold, or have removed, a file of this name that an earlier process left.
            if made.take() and made.is_there():
                os.ftruncate(made._file, 0)
                return made
            made.close()

    @classmethod
    def abandoned(cls, folder: Path) -> Iterator[Journal]:
        """Give each journal whose guard has died, locked."""
        for path in sorted(folder.glob(f"*{_SUFFIX}")):
            found = cls(path)
            if found.take() and found.is_there():
                yield found
            else:
                found.close()

    def take(self) -> bool:
        """Lock the file; False when another guard has it."""
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def is_there(self) -> bool:
        """Tell whether the path still leads to the file that was opened."""
        with contextlib.suppress(FileNotFoundError):
            return self.path.stat().st_ino == os.fstat(self._file).st_ino
        return False

    def write(self, entry: dict[str, Any]) -> None:
        """Add a line and return when it is on the disk."""
        os.write(self._file, json.dumps(entry).encode() + b"\n")
        os.fsync(self._file)

    def open_faults(self) -> dict[str, dict[str, Any]]:
        """Give the entries of faults that were not healed, by key; a line that was cut short had no fault yet."""
        found: dict[str, dict[str, Any]] = {}
        for line in self.path.read_bytes().splitlines():
            try:
                entry = json.loads(line)
            except ValueError:
                continue
            if "healed" in entry:
                found.pop(entry["healed"], None)
            else:
                found[entry["key"]] = entry
        return found

    def close(self, *, remove: bool = False) -> None:
        """Give the file up; remove it if nothing in it is left to heal."""
        if remove:
            self.path.unlink(missing_ok=True)
        os.close(self._file)
