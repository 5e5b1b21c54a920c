"""Keeps the log files of the data folder small: one that has grown is set aside, and the oldest is removed."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import shutil
from typing import TYPE_CHECKING, Final, Protocol

import structlog

if TYPE_CHECKING:
    from pathlib import Path

_log = structlog.get_logger("cos.logs")

LOOK_SECONDS: Final = 10.0


class Limits(Protocol):
    """How much may be kept; read at each turn, so that it may change."""

    log_max_bytes: int
    log_files: int


class Rotation:
    """Looks at each `*.log` of a folder; a background part.

    The files belong to processes that write on: a file is copied and then emptied, never moved. What is written between
    the last byte of the copy and the emptying, some microseconds, is lost.
    """

    def __init__(self, *, folder: Path, limits: Limits) -> None:
        """Take the folder.

        Args:
            folder: whose log files are kept small.
            limits: the settings.
        """
        self._folder = folder
        self._limits = limits

    async def turn(self) -> float:
        """Set aside what has grown too large."""
        await asyncio.to_thread(self.look)
        return LOOK_SECONDS

    def look(self) -> list[Path]:
        """Do the work of one turn; gives the files that were set aside."""
        found = []
        for path in sorted(self._folder.glob("*.log")):
            try:
                if path.stat().st_size > self._limits.log_max_bytes:
                    set_aside(path, keep=self._limits.log_files)
                    found.append(path)
            except FileNotFoundError:
                continue
            except OSError as error:
                _log.warning("log_not_rotated", path=str(path), error=error.strerror)
        return found


def set_aside(path: Path, *, keep: int) -> None:
    """Copy a log to `NAME.1`, what was there to `NAME.2` and so on, and empty it.

    Args:
        path: of the log; whoever has it open for appending writes on.
        keep: how many older files stay.

    Raises:
        OSError: it cannot be copied. On a full disk the older files are removed, and the next try has their room.
    """
    older = [path.with_name(f"{path.name}.{number}") for number in range(1, keep + 1)]
    copy = path.with_name(f"{path.name}.new")
    with path.open("rb+") as log:
        if keep:
            try:
                with os.fdopen(os.open(copy, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as out:
                    shutil.copyfileobj(log, out, 1024 * 1024)
                    out.flush()
                    out.write(log.read())  # what came meanwhile
            except OSError as error:
                copy.unlink(missing_ok=True)
                if error.errno == errno.ENOSPC:
                    _remove(older)
                raise
        log.truncate(0)
    for newer, place in reversed(list(zip([copy, *older], older, strict=False))):
        with contextlib.suppress(FileNotFoundError):
            newer.replace(place)
    _remove(_beyond(path, keep))


def _beyond(path: Path, keep: int) -> list[Path]:
    numbers = {one: one.suffix[1:] for one in path.parent.glob(f"{path.name}.*")}
    return [one for one, number in numbers.items() if number.isdigit() and int(number) > keep]


def _remove(paths: list[Path]) -> None:
    for one in paths:
        one.unlink(missing_ok=True)
