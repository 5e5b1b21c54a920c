"""The lock that makes one process the owner of a data folder for as long as it lives."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from typing import TYPE_CHECKING, Any, Self

from cos.errors import AlreadyRunning

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import TracebackType


class FolderLock:
    """Ownership of a data folder; ends with `close`, with the `with` block or with the process, kill -9 included.

    It is a flock, so a stale file never locks anybody out, and no child inherits it (the descriptor closes on exec).
    """

    def __init__(
        self, path: Path, read_run: Callable[[], dict[str, Any] | None], description: dict[str, Any]
    ) -> None:
        """Take the lock in `path` and write `description` (JSON values) into it for whoever comes second.

        Args:
            path: the lock file; it stays when the lock is given up, for removing it would be a race.
            read_run: gives what the holder says about itself elsewhere.
            description: JSON values, such as `since` and `address`.

        Raises:
            AlreadyRunning: another process holds it; `extra` has what it wrote.
            OSError: the file cannot be opened.
        """
        self._descriptor: int | None = os.open(
            path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600
        )
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = (read_run() or {}) | (read_object(path) or {})
            self.close()
            raise AlreadyRunning(_sentence(path, holder), **holder) from None
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, json.dumps({"pid": os.getpid(), **description}).encode(), 0)

    def close(self) -> None:
        """Give the folder up; a second call does nothing."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        with contextlib.suppress(OSError):
            self.close()


def read_object(path: Path) -> dict[str, Any] | None:
    """Read a JSON object that this account (or root) wrote; None when it is absent, half-written or foreign."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    with os.fdopen(descriptor, "rb") as file:
        try:
            if os.fstat(file.fileno()).st_uid not in {0, os.geteuid()}:
                return None
            value = json.loads(file.read(_MAX_OBJECT_BYTES))
        except (OSError, ValueError, RecursionError):
            return None
    return value if isinstance(value, dict) else None


_MAX_OBJECT_BYTES = 1024 * 1024


def _sentence(path: Path, holder: dict[str, Any]) -> str:
    known = [f"process {holder['pid']}"] if "pid" in holder else []
    known += [f"since {holder['since']}"] if "since" in holder else []
    known += [f"at {holder['address']}"] if "address" in holder else []
    who = f" ({', '.join(known)})" if known else ""
    return (
        f"Another COS{who} has the data folder {path.parent}: stop that one first, "
        "or choose another folder with COS_DATA_DIR."
    )
