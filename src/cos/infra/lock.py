"""The lock that makes one process the owner of a data folder for as long as it lives."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
from typing import TYPE_CHECKING, Any, Self

from cos.errors import AlreadyRunning

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import TracebackType

_MAX_OBJECT_BYTES = 1024 * 1024


class FolderLock:
    """Ownership of a data folder; ends with `close`, with the `with` block or with the process, even kill -9.

    It is a flock, so a stale file never locks anybody out, and no child inherits it (it closes on exec).
    """

    def __init__(
        self,
        path: Path,
        *,
        description: dict[str, Any],
        read_run: Callable[[], dict[str, Any] | None],
        keep: Path,
    ) -> None:
        """Take the lock in `path` and write `description` into it for whoever comes second.

        Args:
            path: the lock file; it stays when the lock is given up, for removing it would be a race.
            description: JSON values, such as `since` and `address`.
            read_run: gives what the holder says about itself elsewhere.
            keep: a folder that cleaners of temporary files must leave alone, which a lock on it tells them.

        Raises:
            AlreadyRunning: another process holds it; `extra` has its pid, since and address, if known.
            OSError: the file cannot be opened.
        """
        self._descriptors: list[int] = []
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        file = self._hold(os.open(path, flags, 0o600))
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = _holder(read_object(path), read_run())
            self.close()
            raise AlreadyRunning(_sentence(path, holder), **holder) from None
        try:
            os.ftruncate(file, 0)
            os.pwrite(file, json.dumps({"pid": os.getpid(), **description}).encode(), 0)
        except OSError as error:
            # The lock is ours without a word about it: who makes room on a full disk needs it, too.
            if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
                raise
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(self._hold(os.open(keep, os.O_RDONLY | os.O_CLOEXEC)), fcntl.LOCK_SH | fcntl.LOCK_NB)

    def close(self) -> None:
        """Give the folder up; a second call does nothing."""
        while self._descriptors:
            os.close(self._descriptors.pop())

    def _hold(self, descriptor: int) -> int:
        self._descriptors.append(descriptor)
        return descriptor

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()


def read_object(path: Path) -> dict[str, Any] | None:
    """Read a JSON object that this account or root wrote; None when absent, half-written or foreign."""
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


def _holder(lock: dict[str, Any] | None, run: dict[str, Any] | None) -> dict[str, Any]:
    """Say who holds the lock; the run state counts only if the same process wrote it."""
    known = lock or {}
    if run and known.get("pid") in {None, run.get("pid")}:
        known = run | known
    return {name: known[name] for name in ("pid", "since", "address") if name in known}


def _sentence(path: Path, holder: dict[str, Any]) -> str:
    known = [f"process {holder['pid']}"] if "pid" in holder else []
    known += [f"since {holder['since']}"] if "since" in holder else []
    known += [f"at {holder['address']}"] if "address" in holder else []
    who = f" ({', '.join(known)})" if known else ""
    return (
        f"Another COS{who} has the data folder {path.parent}: stop that one first, "
        "or choose another folder with COS_DATA_DIR."
    )
