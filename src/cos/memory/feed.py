"""The live feed: every settled event to every follower of this process, once, in the order of the log.

One part follows the log by position and hands each event to all followers; so a thousand of them cost one read. What
it gives is below the horizon, so nothing can appear behind a position that was given, and a follower that comes back
with its last position misses nothing and gets nothing twice. Redis only makes it prompt: a relay that has moved
something rings, and while nobody rings it looks every quarter of a second.

A follower's buffer has a bound. One that reads too slowly is let go, and told so.
"""

from __future__ import annotations

import asyncio
import re
from collections import deque
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import asyncpg

from cos.common import clock, db
from cos.errors import Overloaded
from cos.memory import sql
from cos.memory.position import START, Position

if TYPE_CHECKING:
    from collections.abc import Sequence

_LINE_BREAK = re.compile(r"\r\n|\r|\n")

BATCH = 500
BATCH_BYTES = 1024 * 1024
POLL_SECONDS = 0.25
#: With nobody to feed there is nothing to look for.
IDLE_SECONDS = 60.0
#: The next round comes no sooner than so long for each follower after the last: each costs a write to its socket, and
#: events that come meanwhile share it. A thousand get theirs an eighth of a second apart, a few at once.
ROUND_SECONDS_EACH = 0.000_125
#: What one follower may leave unread.
MAX_UNREAD_EVENTS = 2000
MAX_UNREAD_BYTES = 4 * 1024 * 1024


class TooSlow(Overloaded):
    """This reader was too slow and is let go; it can come back with its last position."""

    slug = "too-slow"


@dataclass(frozen=True, slots=True)
class Item:
    """One event as followers get it.

    Attributes:
        position: in the log.
        module: of the event.
        type: of the event.
        subject: of the event.
        envelope: its CloudEvents envelope, as JSON text.
        frame: the same as a server-sent event, made once for all followers.
    """

    position: Position
    module: str
    type: str
    subject: str | None
    envelope: str
    frame: bytes


@dataclass(frozen=True, slots=True)
class Batch:
    """What comes next.

    Attributes:
        items: the wanted events, in the order of the log; none when none came lately.
        upto: every wanted event up to here has been given.
    """

    items: Sequence[Item]
    upto: Position


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which events a follower wants; None for all. A type that ends in `*` matches every type that begins so."""

    module: str | None = None
    type: str | None = None
    subject: str | None = None

    def takes(self, item: Item) -> bool:
        """Say whether the event is wanted."""
        if self.module is not None and item.module != self.module:
            return False
        if self.subject is not None and item.subject != self.subject:
            return False
        if self.type is None:
            return True
        return item.type.startswith(self.type[:-1]) if self.type.endswith("*") else item.type == self.type


class Follower:
    """One reader's buffer; made by `Feed.follow`."""

    def __init__(self, wanted: Wanted, *, after: Position) -> None:
        """Begin behind a position, with nothing unread."""
        self.wanted = wanted
        self.after = after
        self.too_slow = False
        self._unread: deque[Item] = deque()
        self._bytes = 0
        self._awake = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None

    def offer(self, item: Item) -> None:
        """Put an event into the buffer, if it is wanted and the follower has not had it; a full one is given up."""
        if item.position <= self.after or self.too_slow or not self.wanted.takes(item):
            return
        full = len(self._unread) >= MAX_UNREAD_EVENTS or self._bytes + len(item.frame) > MAX_UNREAD_BYTES
        if full and self._unread:  # one that is larger than the bound is taken alone
            self.too_slow = True
            self._unread.clear()
        else:
            self._unread.append(item)
            self._bytes += len(item.frame)
        self._awake.set()

    async def take(self, timeout_seconds: float) -> Sequence[Item]:
        """Give what is unread, waiting for it so long at most; nothing when nothing came.

        Raises:
            TooSlow: the buffer was full.
        """
        if not self._unread and not self.too_slow:
            self._awake.clear()
            if self._timer is None:
                # Left running when something comes before: a timer a batch would cost as much as the batch.
                self._timer = asyncio.get_running_loop().call_later(timeout_seconds, self._ring)
            await self._awake.wait()
        if self.too_slow:
            raise TooSlow
        taken, self._unread, self._bytes = self._unread, deque(), 0
        return taken

    def wake(self) -> None:
        """End a wait early."""
        self._awake.set()

    def close(self) -> None:
        """Stop the timer."""
        if self._timer is not None:
            self._timer.cancel()

    def _ring(self) -> None:
        self._timer = None
        self._awake.set()


class Feed:
    """Follows the log for all followers of this process; a background part (see `cos.common.looper`)."""

    def __init__(self, *, url: str, poll_seconds: float = POLL_SECONDS) -> None:
        """Take the URL of the Postgres; it connects with the first follower.

        Args:
            url: of the Postgres.
            poll_seconds: how long an event may wait while nobody rings.
        """
        self._url = url
        self._poll_seconds = poll_seconds
        self._followers: set[Follower] = set()
        self._connection: asyncpg.Connection[Any] | None = None
        self._reading = asyncio.Lock()
        self._cursor: Position | None = None
        self._next_round_at = 0.0
        self.wake: Callable[[], None] = _nobody

    @property
    def followers(self) -> int:
        """How many follow now."""
        return len(self._followers)

    async def turn(self) -> float:
        """Hand on what has settled since the last turn; gives 0 when there may be more.

        Raises:
            PostgresUnreachable: in words; what was given stays given, the next turn goes on behind it.
        """
        if not self._followers or self._cursor is None:
            self._cursor = None
            return IDLE_SECONDS
        if (early := self._next_round_at - clock.monotonic()) > 0:
            return early
        items = await self._read(self._cursor)
        for item in items:
            for follower in self._followers:
                follower.offer(item)
        if not items:
            return self._poll_seconds
        self._cursor = items[-1].position
        pause = len(self._followers) * ROUND_SECONDS_EACH
        self._next_round_at = clock.monotonic() + pause
        return pause

    async def close(self) -> None:
        """Give up the connection, and let every follower see that this is the end."""
        connection, self._connection = self._connection, None
        if connection is not None and not connection.is_closed():
            connection.terminate()
        for follower in self._followers:
            follower.wake()

    async def follow(self, wanted: Wanted, since: Position | None) -> AsyncGenerator[Batch, None]:
        """Give what settles after a position, or from now on, in batches; an empty one says that nothing came lately.

        The first batch comes at once. What is in the log already is given first, then what comes, without a gap or a
        repetition between them.

        Args:
            wanted: which events.
            since: the last position that the follower has, None for now.

        Raises:
            TooSlow: the follower left too much unread.
            PostgresUnreachable: the log could not be read.
        """
        # Who begins now begins with all others, where there are any: a thousand who come at once ask the log nothing.
        place = since or self._cursor or await self._top()
        while self._cursor is None or place < self._cursor:
            items = await self._read(place)
            if items:
                place = items[-1].position
                yield Batch([item for item in items if wanted.takes(item)], place)
                continue
            top = await self._top()
            if self._cursor is None:
                # The first follower says where the feed begins: never past what there is, wherever it wants to begin.
                self._cursor = min(place, top)
                break
        # No wait between the last look and here: nothing can have been handed on in between.
        follower = Follower(wanted, after=place)
        self._followers.add(follower)
        self.wake()
        try:
            yield Batch((), place)
            while True:
                taken = await follower.take(self._poll_seconds * 4)
                # The feed stands at its cursor, and all of it was taken: nothing can have come in between.
                yield Batch(taken, max(place, self._cursor))
        finally:
            self._followers.discard(follower)
            follower.close()

    async def _read(self, after: Position) -> list[Item]:
        rows = await self._fetch(sql.READ_SETTLED, *after, BATCH, BATCH_BYTES)
        return [_item(row) for row in rows]

    async def _top(self) -> Position:
        rows = await self._fetch(sql.SETTLED_TOP)
        return Position(rows[0]["xact"], rows[0]["seq"]) if rows else START

    async def _fetch(self, statement: str, *arguments: Any) -> list[asyncpg.Record]:
        async with self._reading:
            try:
                connection = self._connection
                if connection is None or connection.is_closed():
                    connection = self._connection = await db.connect(self._url, name="cos feed")
                    await connection.execute(sql.BY_INDEX_ONLY)
                found: list[asyncpg.Record] = await connection.fetch(statement, *arguments)
            except db.LOST as error:
                raise db.connect_error(self._url, error) from error
            return found


def _nobody() -> None:
    """Stand for the looper that is not there yet."""


def _item(row: asyncpg.Record) -> Item:
    position = Position(row["xact"], row["seq"])
    envelope: str = row["envelope"]
    # Data is kept to the byte, so it may hold line breaks between its members; the format takes each line apart.
    told = _LINE_BREAK.sub("\ndata: ", envelope)
    frame = f"id: {position}\ndata: {told}\n\n".encode()
    return Item(position, row["module"], row["type"], row["subject"], envelope, frame)
