"""Showing the log files of the data folder."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from cos.errors import BadInput, NotFound
from cos.infra.folder import DataFolder

if TYPE_CHECKING:
    from pathlib import Path

    from cos.config import Settings

PARTS = ("cos", "postgres", "redis")
_POLL_SECONDS = 0.25


def show(settings: Settings, part: str, *, lines: int, follow: bool, say: Callable[[str], None]) -> None:
    """Print the last lines of a part's log, and go on with what is written if asked.

    Raises:
        BadInput: there is no such part.
        NotFound: the part has written no log yet.
    """
    if part not in PARTS:
        raise BadInput(f"There is no log {part!r}; there are {', '.join(PARTS)}.")
    path = DataFolder.find(settings.data_dir).logs / f"{part}.log"
    if not path.exists():
        hint = " (it is written by: cos up --detach)" if part == "cos" else ""
        raise NotFound(f"There is no log {path} yet{hint}.")
    end = _show_last(path, lines, say)
    while follow:
        time.sleep(_POLL_SECONDS)
        end = _show_since(path, end, say)


def _show_last(path: Path, lines: int, say: Callable[[str], None]) -> int:
    with path.open(encoding="utf-8", errors="replace") as file:
        for line in deque(file, maxlen=lines):
            say(line.rstrip("\n"))
        return file.tell()


def _show_since(path: Path, end: int, say: Callable[[str], None]) -> int:
    if path.stat().st_size < end:
        end = 0  # the log was rotated
    with path.open(encoding="utf-8", errors="replace") as file:
        file.seek(end)
        for line in file:
            say(line.rstrip("\n"))
        return file.tell()
