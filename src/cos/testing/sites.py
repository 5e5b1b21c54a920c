"""Names the place in the code where something was made, bound or left, as a person would look for it."""

from __future__ import annotations

import dis
import functools
import os
import sysconfig
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FrameType, TracebackType

_HERE = str(Path(__file__).parent) + os.sep
_ASYNCIO = os.path.join(sysconfig.get_path("stdlib"), "asyncio") + os.sep  # noqa: PTH118
_LIBRARIES = tuple(
    sysconfig.get_path(name) + os.sep for name in ("stdlib", "platstdlib", "purelib", "platlib")
)
_IMPORTERS = ("<frozen importlib", os.path.join("_pytest", "assertion", "rewrite.py"))  # noqa: PTH118

#: How handlers begin that Python itself puts around a generator's body and an `async for`.
_OF_PYTHON = ("CALL_INTRINSIC_1", "END_ASYNC_FOR", "CLEANUP_THROW")

PROJECT = 2
LIBRARY = 1
MACHINERY = 0
RUNNER = -1


@functools.cache
def kind_of(file: str) -> int:
    """Say whether a file is the project's own, a library's, machinery that no message points at, or pytest's."""
    if f"{os.sep}_pytest{os.sep}" in file or f"{os.sep}pluggy{os.sep}" in file:
        return RUNNER
    if file.startswith((_HERE, _ASYNCIO)):
        return MACHINERY
    if file.startswith("<") or "site-packages" in file or file.startswith(_LIBRARIES):
        return LIBRARY
    return PROJECT


@dataclass(frozen=True, slots=True)
class Site:
    """A place in the code: file, line from 1, function; `at_import` says that a module was being imported."""

    file: str
    line: int
    function: str
    at_import: bool = False

    def __str__(self) -> str:
        """Write it as an editor opens it, the file relative to the current folder where it is below that."""
        here = str(Path.cwd()) + os.sep
        name = self.file.removeprefix(here)
        inside = "" if self.function.startswith("<module") else f" in {self.function}"
        return f"{name}:{self.line}{inside}"


UNKNOWN = Site("<unknown>", 0, "<module>")


def locate(frame: FrameType | None, *, whole: bool = False) -> Site:
    """Find the innermost place that a person would call the cause: of the project, else of a library.

    Args:
        frame: where to begin; its callers are looked at in turn.
        whole: also look whether a module is being imported further out, which takes the whole stack.
    """
    best: FrameType | None = None
    rank = MACHINERY
    at_import = False
    while frame is not None:
        found = kind_of(frame.f_code.co_filename)
        if found == RUNNER:
            break  # further out is nothing but pytest
        if found > rank:
            best, rank = frame, found
        if not whole and rank == PROJECT:
            break
        back = frame.f_back
        if whole and frame.f_code.co_name == "<module>" and back is not None:
            file = back.f_code.co_filename
            if file.startswith(_IMPORTERS[0]) or file.endswith(_IMPORTERS[1]):
                at_import = True
                if rank == PROJECT:
                    break
        frame = back
    if best is None:
        return UNKNOWN
    return Site(best.f_code.co_filename, best.f_lineno, best.f_code.co_name, at_import)


def locate_raise(traceback: TracebackType | None) -> Site:
    """Find the innermost place of a traceback that a person would call the cause."""
    best, rank = UNKNOWN, MACHINERY
    while traceback is not None:
        code = traceback.tb_frame.f_code
        found = kind_of(code.co_filename)
        if found >= rank and found > MACHINERY:
            best, rank = Site(code.co_filename, traceback.tb_lineno, code.co_name), found
        traceback = traceback.tb_next
    return best


@functools.cache
def _protected(code: CodeType) -> tuple[range, ...]:
    """Give the parts of a function that a `try` or a `with` of its own protects."""
    steps = {step.offset: step for step in dis.get_instructions(code)}
    found = []
    for entry in dis._parse_exception_table(code):  # type: ignore[attr-defined]  # noqa: SLF001  (dis shows it alone)
        handler = steps.get(entry.target)
        if handler is not None and handler.opname not in _OF_PYTHON:
            found.append(range(entry.start, entry.end))
    return tuple(found)


def owes_cleanup(frame: FrameType) -> bool:
    """Say whether a suspended function stands inside a `try` or `with`, so that something is still to be done."""
    return any(frame.f_lasti in part for part in _protected(frame.f_code))
