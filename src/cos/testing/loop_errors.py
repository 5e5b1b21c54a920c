"""What the loop check finds, each kind with its own name."""

from __future__ import annotations

from collections.abc import Sequence

from cos.errors import CosError


class LoopError(CosError, RuntimeError):
    """An event loop was used in a way that fails sooner or later."""

    slug = "loop"


class NestedRun(LoopError):
    """An event loop was started inside a running one."""

    slug = "nested-run"


class OtherLoop(LoopError):
    """Something that belongs to one event loop was used in another."""

    slug = "other-loop"


class BoundAtImport(LoopError):
    """Something made at import was bound to the event loop of a test."""

    slug = "bound-at-import"


class TaskLeft(LoopError):
    """A task was still under way when its test was over."""

    slug = "task-left"


class GeneratorLeft(LoopError):
    """An async generator was left before its end."""

    slug = "generator-left"


class ConnectionLeft(LoopError):
    """A connection was left to the garbage collector while it was open."""

    slug = "connection-left"


class LoopBlocked(LoopError):
    """A call kept the event loop from everything else."""

    slug = "loop-blocked"


class LoopErrors(ExceptionGroup[LoopError]):
    """Several things were found in one test."""

    def derive(self, excs: Sequence[LoopError]) -> LoopErrors:  # type: ignore[override]  # only of our kind
        """Make a group of a part of these."""
        return LoopErrors(self.message, list(excs))


def one_of(found: Sequence[LoopError]) -> LoopError | LoopErrors:
    """Give one error for what was found: itself when it is one, a group when there are more."""
    if len(found) == 1:
        return found[0]
    return LoopErrors(f"{len(found)} faults of the event loop", list(found))
