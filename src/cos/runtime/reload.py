"""One reload of the settings: who asked for it, and how it went."""

from __future__ import annotations

import json
import os
import pwd
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from cos.common import clock
from cos.infra.lock import read_object

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

#: In the data folder, from when `cos reload` asks until the process has read it.
NOTE: Final = "reload.json"
_MOST_CHARACTERS = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Reload:
    """One reload, as it went.

    Attributes:
        at: when.
        by: who asked.
        changed: what the process took over: by name, the value before and after.
        need_a_restart: names of what changed and waits for a restart.
        error: the sentence that says why nothing was taken over; None when it was.
    """

    at: datetime
    by: dict[str, Any]
    changed: dict[str, Any] = field(default_factory=dict)
    need_a_restart: list[str] = field(default_factory=list)
    error: str | None = None


def leave_note(folder: Path, pid: int) -> None:
    """Write down that `cos reload` asks a process, and as which account, for the event that tells of it."""
    note = {"for": pid, "via": "cos reload", "user": _user(os.getuid()), "at": clock.now().isoformat()}
    with suppress(OSError):  # a full disk must not keep anybody from a reload
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
        with os.fdopen(os.open(folder / NOTE, flags, 0o644), "w") as file:
            json.dump(note, file)


def take_note(folder: Path) -> dict[str, Any]:
    """Give who asks this process to reload: as `cos reload` left it, else that a signal came from nobody known."""
    path = folder.expanduser() / NOTE
    note = read_object(path)
    if note is None or note.get("for") != os.getpid():
        return {"via": "SIGHUP", "user": None}
    with suppress(OSError):
        path.unlink()
    return {name: str(note.get(name))[:_MOST_CHARACTERS] for name in ("via", "user")}


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
