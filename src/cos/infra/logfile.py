"""The log file of a server: opened for it to append, kept small, read for the line that explains a death."""

from __future__ import annotations

import os
import re
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

MAX_LOG_BYTES = 4 * 1024 * 1024
_TAIL_BYTES = 64 * 1024
# What Postgres and Redis write before a line's own words.
_PREFIX = re.compile(
    r"^(?:\d{4}-\d\d-\d\d [\d:.]+ \w+ \[\d+\] "
    r"|\d+:[A-Z] \d+ \w+ \d{4} [\d:.]+ [#*.-] "
    r"|[\w.-]+: (?=error|fatal))"
)
_GRAVE = re.compile(
    r"\b(?:FATAL|PANIC|ERROR|fatal|error|[Cc]an't|[Ff]ailed|[Bb]ad)\b|could not|No space left| # "
)


def open_log(path: Path) -> IO[bytes]:
    """Open for appending, private to this account; a file past 4 MiB is first moved to `NAME.1`."""
    path.parent.mkdir(mode=0o700, exist_ok=True)
    if path.exists() and path.stat().st_size > MAX_LOG_BYTES:
        path.replace(path.with_name(f"{path.name}.1"))
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "ab")


def read_since(path: Path, offset: int) -> str:
    """Read what was written after `offset` bytes, at most the last 64 KiB of it; empty when unreadable."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(offset, size - _TAIL_BYTES))
            return file.read().decode(errors="replace")
    except OSError:
        return ""


def telling_line(text: str) -> str | None:
    """Pick the last line that says why, else the last one, without its time and pid; None when empty."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        return None
    line = next((line for line in reversed(lines) if _GRAVE.search(line)), lines[-1])
    return _PREFIX.sub("", line)
