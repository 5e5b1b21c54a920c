"""Writes an exception, all that it came of and every frame as plain values, so that a report can carry them."""

from __future__ import annotations

import linecache
import os
from types import TracebackType
from typing import Any

import pytest

_MESSAGE = 50_000
_FRAMES = 400
_LINKS = 40


def chain_of(error: BaseException, root: str) -> list[dict[str, Any]]:
    """Give the exceptions from the root of the chain to the outermost one.

    Args:
        error: the outermost.
        root: the project's folder; files below it are told relative to it.

    Returns:
        For each `type`, `message`, `frames` (outermost first: `file`, `line`, `function`, `source`) and `link`: how
        the next one came of it (`cause`, `context`, `member` of a group, or nothing). Of a group the first member
        stands in the chain; `members` of the group's entry has all.
    """
    found: list[dict[str, Any]] = []
    link = ""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen and len(seen) < _LINKS:
        seen.add(id(current))
        item = _one(current, root) | {"link": link}
        following: BaseException | None = None
        if current.__cause__ is not None:
            following, link = current.__cause__, "cause"
        elif current.__context__ is not None and not current.__suppress_context__:
            following, link = current.__context__, "context"
        if isinstance(current, BaseExceptionGroup):
            item["members"] = [_one(member, root) for member in current.exceptions]
            if following is None:
                following, link = current.exceptions[0], "member"
        found.append(item)
        current = following
    found.reverse()
    return found


def inner_of(error: BaseException) -> BaseException:
    """Go below pytest's own CollectError to what the import of a module raised."""
    while error.__cause__ is not None and type(error).__name__ == "CollectError":
        error = error.__cause__
    return error


def _one(error: BaseException, root: str) -> dict[str, Any]:
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    notes = [str(note) for note in getattr(error, "__notes__", ())]
    item: dict[str, Any] = {
        "type": name,
        "message": _message(error),
        "frames": _frames(error.__traceback__, root),
    }
    return item | ({"notes": notes} if notes else {})


def _message(error: BaseException) -> str:
    try:
        if isinstance(error, (pytest.fail.Exception, pytest.skip.Exception)):
            text = str(error.msg)
        elif type(error).__name__ == "FixtureLookupError":
            text = f"fixture {getattr(error, 'argname', '?')!r} not found"
        else:
            text = str(error)
    except Exception as broken:  # noqa: BLE001  (an exception whose str() fails is still a failure to report)
        text = f"<str() raised {type(broken).__name__}>"
    return text if len(text) <= _MESSAGE else text[:_MESSAGE] + " [cut]"


def _frames(traceback: TracebackType | None, root: str) -> list[dict[str, Any]]:
    frames: list[dict[str, Any]] = []
    while traceback is not None and len(frames) < _FRAMES:
        code = traceback.tb_frame.f_code
        frames.append(
            {
                "file": local(code.co_filename, root),
                "line": traceback.tb_lineno,
                "function": code.co_name,
                "source": linecache.getline(code.co_filename, traceback.tb_lineno).strip(),
            }
        )
        traceback = traceback.tb_next
    ours = next((at for at, frame in enumerate(frames) if not _foreign(frame["file"])), 0)
    return frames[ours:]  # what pytest itself did before is the same for every test


def local(file: str, root: str) -> str:
    """Write a file relative to the project when it is below it."""
    return file[len(root) + 1 :].replace(os.sep, "/") if file.startswith(root + os.sep) else file


def _foreign(file: str) -> bool:
    return os.path.isabs(file) or file.startswith("<") or "site-packages" in file  # noqa: PTH117  (a string is enough)
