"""How a consumer group behaves: its limits, what it holds of a stream, and what it asks of whoever knows the log."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec

from cos.common import ids
from cos.errors import BadSetting

MAX_NAME = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What a group does with a message that fails, how much it does at once, and how long it waits.

    Attributes:
        attempts: how often a message is handled at most before it becomes a dead letter.
        first_retry_seconds: pause after the first failure; it doubles, with jitter, up to
        last_retry_seconds: the longest pause.
        deadline_seconds: how long one call of the handler may take; a longer one is cancelled and counts as failed.
        concurrency: how many calls may run at once in this process.
        batch: most messages that one call is given, where the handler takes many.
        prefetch: most messages that a consumer holds at once.
        ordered: messages of one key are handled one after the other, in stream order, in one process at a time.
        claim_seconds: how long a consumer may be silent before others take over what it holds.
        drain_seconds: how long calls under way may take to end at a stop.
    """

    attempts: int = 5
    first_retry_seconds: float = 0.2
    last_retry_seconds: float = 30.0
    deadline_seconds: float = 30.0
    concurrency: int = 1
    batch: int = 100
    prefetch: int = 200
    ordered: bool = False
    claim_seconds: float = 15.0
    drain_seconds: float = 4.0

    def __post_init__(self) -> None:
        """Refuse numbers that cannot work; raises BadSetting."""
        for name in ("attempts", "concurrency", "batch", "prefetch"):
            if getattr(self, name) < 1:
                raise BadSetting(f"A group's {name} must be at least 1, not {getattr(self, name)}.")
        for name in ("first_retry_seconds", "last_retry_seconds", "deadline_seconds", "claim_seconds"):
            if getattr(self, name) <= 0:
                raise BadSetting(f"A group's {name} must be above 0, not {getattr(self, name):g}.")

    def pause_seconds(self, attempt: int) -> float:
        """Give how long to wait after the given attempt (1 for the first) has failed."""
        doubled = self.first_retry_seconds * 2.0 ** min(attempt - 1, 30)
        return ids.jitter(min(doubled, self.last_retry_seconds))


@dataclass(frozen=True, slots=True)
class Stream:
    """The keys in Redis that a group uses for one stream.

    Attributes:
        key: the stream itself, shared by all groups.
        refill: a stream of this group's own, for what the shared one no longer holds.
        owner: who may read it for an ordered group.
    """

    key: str
    refill: str
    owner: str


class Message(msgspec.Struct, gc=False, eq=False):
    """One entry that a consumer holds.

    Attributes:
        stream: which stream it belongs to.
        key: of the stream that it was read from: the shared one or the refill.
        id: of the entry.
        body: its field; None when the entry is gone from the stream.
        begun: how often a call with it was begun.
        suspect: whether a consumer that held it has fallen silent, so that it may have died of it.
        item: what `Desk.open` made of it.
        lane: what its order is kept within, where order is kept.
        failed: why it becomes a dead letter, once that is decided.
        place: its key and id, once it is held.
    """

    stream: Stream
    key: str
    id: bytes
    body: bytes | None
    begun: int = 0
    suspect: bool = False
    item: Any = None
    lane: str = ""
    failed: BaseException | None = None
    place: tuple[str, bytes] = ("", b"")


class Unfit(Exception):
    """The message can never be handled, so no attempt at it is worth another."""


class Died(Exception):
    """The consumer fell silent each time while it handled this message."""


class Late(Exception):
    """The handler did not end within its deadline."""


class CutShort(Exception):
    """Each time, the consumer lost the stream to another while it handled this message."""


class Desk(Protocol):
    """What handles messages."""

    def open(self, message: Message) -> bool:
        """Read the message into its `item` and `lane`; give False when this group does not want it.

        Raises:
            Unfit: it cannot be read.
        """
        ...

    async def handle(self, messages: Sequence[Message]) -> None:
        """Handle some messages; returning means that it is done. Raises Unfit, or anything else to be called again."""
        ...


class Graves(Protocol):
    """Where messages go that could not be handled."""

    async def bury(self, message: Message, error: BaseException) -> None:
        """Keep the message for ever; a second time changes nothing."""
        ...


class Source(Protocol):
    """What knows which streams there are, and what was ever in them."""

    async def streams(self) -> Sequence[Stream]:
        """Give the streams that the group reads now; cheap."""
        ...

    async def begin(self, stream: Stream) -> str:
        """Give the id after which the group reads a stream in which it has no place."""
        ...

    def beginning(self, stream: Stream) -> AbstractAsyncContextManager[bool]:
        """Keep every other process from beginning the stream; says whether the group ever began it before."""
        ...

    async def between(self, stream: Stream, after: str, upto: str, most: int) -> Sequence[tuple[str, bytes]]:
        """Give the first entries after one id, up to another one."""
        ...

    async def at(self, stream: Stream, entry: str) -> bytes | None:
        """Give the entry with an id, None if there never was one."""
        ...

    async def reached(self, places: dict[Stream, str]) -> None:
        """Keep, for a Redis that forgets, up to which entry all is done in each stream."""
        ...
