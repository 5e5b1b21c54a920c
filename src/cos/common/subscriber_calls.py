"""The calls of a handler that are under way, each of which can be cut short from outside."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cos.common.subscriber_policy import Message, Stream


class Calls:
    """What each task is calling the handler with; `begin` and `end` stand around each call, in its task."""

    def __init__(self) -> None:
        """Begin with none."""
        self._under_way: dict[asyncio.Task[Any], Sequence[Message]] = {}
        self._cut: set[asyncio.Task[Any]] = set()

    def begin(self, task: asyncio.Task[Any], messages: Sequence[Message]) -> None:
        """Begin a call."""
        self._under_way[task] = messages

    def end(self, task: asyncio.Task[Any]) -> bool:
        """End a call; says whether it was cut short, and takes that cancellation back."""
        self._under_way.pop(task, None)
        if task not in self._cut:
            return False
        self._cut.discard(task)
        task.uncancel()
        return True

    def cut_short(self, stream: Stream) -> None:
        """Cancel the calls that are about messages of a stream."""
        for task, messages in self._under_way.items():
            if messages[0].stream == stream and task not in self._cut:
                self._cut.add(task)
                task.cancel()
