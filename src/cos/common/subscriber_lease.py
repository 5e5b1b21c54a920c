"""The lease of one consumer of an ordered group: until when the streams that it reads are its own, by its own clock."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from cos.common import clock

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cos.common.subscriber_group import Owned
    from cos.common.subscriber_policy import Stream

#: The part of a lease that its owner counts on: in the rest of it, what it has begun may end, and nothing begins.
SHARE = 2 / 3


class Lease:
    """Knows whether work may begin, and tells when it may not any more; of a group without order it always may."""

    def __init__(self, *, seconds: float | None, lapsed: Callable[[], None]) -> None:
        """Take how long Redis gives a stream to who asks for it (None: streams have no owner), and who is told."""
        self.marks: dict[Stream, bytes] = {}
        self._seconds = seconds
        self._lapsed = lapsed
        self._until = float("-inf")
        self._ours_until: dict[Stream, float] = {}
        self._timer: asyncio.TimerHandle | None = None

    def is_valid(self) -> bool:
        """Say whether the streams are ours for certain."""
        return self._seconds is None or clock.monotonic() < self._until

    def answered(self, owned: Owned, asked: Sequence[Stream], *, asked_at: float) -> None:
        """Take the answer to a question for streams; it holds from when it was asked.

        What was ours, by our own clock, when we were told its mark can be nobody else's since: nobody is let past a
        mark but by naming it. So the mark is kept, and makes the stream ours at the next question.
        """
        if self._seconds is None:
            return
        now = clock.monotonic()
        unasked = {one: mark for one, mark in self.marks.items() if one not in asked}
        self.marks = unasked | {
            one: mark
            for one, mark in owned.marks.items()
            if mark == self.marks.get(one) or now < self._ours_until.get(one, now)
        }
        self._until = asked_at + self._seconds * SHARE
        gone = {one for one in asked if one not in owned.forgotten}
        kept = {one: until for one, until in self._ours_until.items() if one not in gone}
        self._ours_until = kept | dict.fromkeys(owned.ours, self._until)
        if self._timer is None:
            self._wait()

    def close(self) -> None:
        """Stop looking at the clock."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _wait(self) -> None:
        left = max(0.0, self._until - clock.monotonic())
        self._timer = asyncio.get_running_loop().call_later(left, self._look)

    def _look(self) -> None:
        self._timer = None
        if self.is_valid():
            self._wait()
        else:
            self._lapsed()
