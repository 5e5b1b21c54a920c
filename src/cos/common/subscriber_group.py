"""A consumer group's place in its streams: reading, acknowledging, taking over, giving back."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from redis.exceptions import NoScriptError

from cos.common import ids
from cos.common import subscriber_scripts as scripts
from cos.common.subscriber_policy import Message, Stream
from cos.common.wire import Command

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from cos.common.wire import Wire

START = "0-0"
_CHUNK = 500
#: How long the key that says who owns a stream outlives the lease: as long as nobody may ask, and Redis still knows.
_OUTLIVES_MS = 30 * 86_400_000
_SHA = {text: hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest() for text in scripts.ALL}
#: What a connection needs before it is used for a group: the scripts in the server's cache.
PRELUDE: tuple[Command, ...] = tuple(("SCRIPT", "LOAD", text) for text in scripts.ALL)


def order(entry: str | bytes) -> tuple[int, int]:
    """Give an id as what can be compared."""
    text = entry.decode() if isinstance(entry, bytes) else entry
    high, _, low = text.partition("-")
    return int(high), int(low or 0)


def before(entry: str) -> str:
    """Give the id after which `entry` is the next one possible."""
    high, low = order(entry)
    return f"{high}-{low - 1}" if low else f"{max(high - 1, 0)}-{2**64 - 1 if high else 0}"


@dataclass(frozen=True, slots=True)
class Gap:
    """What a group has missed of a stream and the stream does not hold any more: after one id, up to another."""

    after: str
    upto: str

    def __str__(self) -> str:
        """Give it as Redis keeps it."""
        return f"{self.after} {self.upto}"


@dataclass(frozen=True, slots=True)
class Place:
    """How far a group is in one stream.

    Attributes:
        delivered: the last id that was handed out.
        pending: how many entries are handed out and not done, or wait in the refill.
        done: the id up to which everything is done.
        gap: what has yet to be filled in.
    """

    delivered: str
    pending: int
    done: str
    gap: Gap | None


@dataclass(slots=True)
class Seen:
    """What one look found that is not as usual: streams without the group, with a gap, with a refill."""

    absent: list[Stream]
    gaps: dict[Stream, Gap]
    refills: list[Stream]


@dataclass(frozen=True, slots=True)
class Owned:
    """What was answered to who asked for the streams of an ordered group.

    Attributes:
        ours: may be read for the time of the lease.
        forgotten: Redis does not know whose they are, so the group has to begin there anew.
        marks: nobody's until the leases from before a new beginning have lapsed, and what marks that beginning.
    """

    ours: list[Stream]
    forgotten: list[Stream]
    marks: dict[Stream, bytes]


class Group:
    """One consumer of a group; every method is one exchange with Redis."""

    def __init__(self, *, wire: Wire, name: str, consumer: str, gaps: str, ordered: bool = False) -> None:
        """Take the connection that is used for all but waiting.

        Args:
            wire: to Redis.
            name: of the group.
            consumer: of this consumer, unlike any other's, in earlier lives too.
            gaps: key of the hash that holds the group's gaps.
            ordered: whether a stream is read by its owner alone.
        """
        self._ordered = ordered
        self.name = name
        self.consumer = consumer
        self._wire = wire
        self._gaps = gaps
        self._refills: set[str] = set()

    async def read(
        self,
        streams: Sequence[Stream],
        fresh: Sequence[Stream],
        refills: Sequence[Stream],
        *,
        count: int,
        done: Mapping[str, Sequence[bytes]],
    ) -> tuple[Seen, list[Message]]:
        """Acknowledge, look, and take what is new.

        Args:
            streams: to look at.
            fresh: those of them that are read.
            refills: those whose refill is read.
            count: most entries of each stream.
            done: ids to acknowledge, by key.
        """
        commands = self.acknowledge(done)
        acknowledged = len(commands)
        commands.append(_script(scripts.LOOK, [self._gaps, *_keys(streams)], self.name))
        self._refills.update(one.refill for one in refills)
        by_key = {one.refill: one for one in refills} | {one.key: one for one in streams}
        for keys in ([(one.owner, one.refill) for one in refills], [(one.owner, one.key) for one in fresh]):
            if keys and self._ordered:
                flat = [part for pair in keys for part in pair]
                commands.append(_script(scripts.READ, flat, self.name, self.consumer, count))
            elif keys:
                commands.append(self._reading([key for _, key in keys], count))
        answers = await self._transact(commands)
        looked, *batches = answers[acknowledged:]
        if isinstance(looked, Exception):
            raise looked
        seen = _seen(looked, streams)
        messages: list[Message] = []
        for batch in batches:
            if isinstance(batch, Exception):
                if not str(batch).startswith("NOGROUP"):
                    raise batch
                continue
            messages += _messages(batch, by_key)
        return seen, messages

    def waiting(self, streams: Sequence[Stream], *, count: int, block_seconds: float) -> Command:
        """Give the command that waits for something new in any of the streams, and takes it."""
        keys = [one.key for one in streams]
        command = self._reading(keys, count)
        return (*command[:4], "BLOCK", max(1, round(block_seconds * 1000)), *command[4:])

    @staticmethod
    def waited(answer: Any, streams: Sequence[Stream]) -> list[Message]:
        """Give the messages that the waiting command was answered with."""
        return _messages(answer, {one.key: one for one in streams})

    def acknowledge(self, done: Mapping[str, Sequence[bytes]]) -> list[Command]:
        """Give the commands that say that entries are done; a refill keeps only what is not."""
        commands: list[Command] = []
        for key, entries in done.items():
            for at in range(0, len(entries), _CHUNK):
                commands.append(("XACK", key, self.name, *entries[at : at + _CHUNK]))
                if key in self._refills:
                    commands.append(("XDEL", key, *entries[at : at + _CHUNK]))
        return commands

    async def settle(self, done: Mapping[str, Sequence[bytes]]) -> None:
        """Acknowledge, and nothing else."""
        commands = self.acknowledge(done)
        if commands:
            await self._transact(commands)

    async def first(self, stream: Stream) -> str | None:
        """Give the id of the first entry that the stream holds."""
        found = await self._wire.call("XRANGE", stream.key, "-", "+", "COUNT", 1)
        return found[0][0].decode() if found else None

    async def refill_length(self, stream: Stream) -> int:
        """Give how many entries wait in the refill or are not done."""
        length: int = await self._wire.call("XLEN", stream.refill)
        return length

    async def create(self, stream: Stream, after: str) -> None:
        """Give the group its place in a stream, unless it has one."""
        await self._run(scripts.CREATE, [self._gaps, stream.key, stream.refill], self.name, after)

    async def create_ordered(
        self, stream: Stream, after: str, *, was_there: bool, lease_seconds: float
    ) -> None:
        """Give an ordered group its place; where it may have an owner, nobody owns it for the time of a lease."""
        mark = f"-{ids.random_hex(8)}"
        keys = [self._gaps, stream.key, stream.refill, stream.owner]
        lease_ms = round(lease_seconds * 1000)
        await self._run(scripts.CREATE, keys, self.name, after, int(was_there), mark, lease_ms, _OUTLIVES_MS)

    async def pour(
        self, stream: Stream, gap: Gap, entries: Sequence[tuple[str, bytes]], rest: Gap | None
    ) -> None:
        """Put what was read for a gap into the refill; nothing happens where the gap has changed since."""
        flat = [part for entry in entries for part in entry]
        keys = [self._gaps, stream.key, stream.refill]
        await self._run(scripts.POUR, keys, self.name, str(gap), "" if rest is None else str(rest), *flat)

    async def places(self, streams: Sequence[Stream]) -> dict[Stream, Place]:
        """Give how far the group is in each stream that it has a place in."""
        if not streams:
            return {}
        found = await self._run(scripts.STATE, [self._gaps, *_keys(streams)], self.name)
        return {stream: _place(one) for stream, one in zip(streams, found, strict=True) if one}

    async def claim(
        self, stream: Stream, key: str, *, idle_seconds: float, most: int, mine: bool = False
    ) -> list[Message]:
        """Take over what nobody has touched for some time.

        Args:
            stream: which it is.
            key: of the stream, or of its refill.
            idle_seconds: how long it must be untouched.
            most: how many are taken.
            mine: only what this consumer was handed itself.
        """
        idle = max(0, round(idle_seconds * 1000))
        keys = [key, stream.owner] if self._ordered else [key]
        taken = await self._run(
            scripts.CLAIM, keys, self.name, self.consumer, idle, most, self.consumer if mine else ""
        )
        if key == stream.refill:
            self._refills.add(key)
        return [
            Message(
                stream=stream,
                key=key,
                id=entry,
                body=body,
                begun=count,
                suspect=count > 0 and holder not in (scripts.PARKED, self.consumer.encode()),
            )
            for entry, count, holder, body in taken
        ]

    async def hold(self, messages: Iterable[Message], *, begin: bool = False) -> set[tuple[str, bytes]]:
        """Say that messages are being worked on; gives the key and id of those that are this consumer's no longer.

        Args:
            messages: which.
            begin: also keep how often each was begun.
        """
        lost: set[tuple[str, bytes]] = set()
        by_key: dict[str, list[Message]] = {}
        for one in messages:
            by_key.setdefault(one.key, []).append(one)
        for key, held in by_key.items():
            for at in range(0, len(held), _CHUNK):
                flat = [
                    part for one in held[at : at + _CHUNK] for part in (one.id, one.begun if begin else -1)
                ]
                gone = await self._run(scripts.HOLD, [key], self.name, self.consumer, *flat)
                lost.update((key, entry) for entry in gone)
        return lost

    async def park(self, key: str, messages: Iterable[Message]) -> None:
        """Give back all that this consumer holds of a stream; of the given ones it knows how often they were begun."""
        flat = [part for one in messages for part in (one.id, one.begun)]
        await self._run(scripts.PARK, [key], self.name, self.consumer, scripts.PARKED, *flat)

    async def sweep(self, key: str, *, idle_seconds: float) -> None:
        """Forget the consumers that hold nothing and were not seen for long."""
        await self._run(scripts.SWEEP, [key], self.name, round(idle_seconds * 1000))

    async def own(
        self, streams: Sequence[Stream], *, lease_seconds: float, marks: Mapping[Stream, bytes]
    ) -> Owned:
        """Ask for the streams of an ordered group.

        Args:
            streams: which.
            lease_seconds: for how long.
            marks: those that were ours, by our own clock, when we were told the mark: with it they are ours again.
        """
        if not streams:
            return Owned([], [], {})
        keys = [one.owner for one in streams]
        known = [marks.get(one, b"") for one in streams]
        answers = await self._run(
            scripts.OWN, keys, self.consumer, round(lease_seconds * 1000), _OUTLIVES_MS, *known
        )
        given = list(zip(streams, answers, strict=True))
        return Owned(
            ours=[one for one, answer in given if answer == 1],
            forgotten=[one for one, answer in given if answer == -1],
            marks={one: answer for one, answer in given if isinstance(answer, bytes)},
        )

    async def disown(self, streams: Sequence[Stream]) -> None:
        """Let another consumer of an ordered group go on."""
        if streams:
            await self._run(scripts.DISOWN, [one.owner for one in streams], self.consumer, _OUTLIVES_MS)

    def _reading(self, keys: Sequence[str], count: int) -> Command:
        places = [">"] * len(keys)
        return ("XREADGROUP", "GROUP", self.name, self.consumer, "COUNT", count, "STREAMS", *keys, *places)

    async def _transact(self, commands: Sequence[Command]) -> list[Any]:
        answers = await self._wire.transact(commands)
        for one in answers:
            if isinstance(one, NoScriptError):
                # Somebody emptied the script cache. A new connection loads them; what was read is taken up by a claim.
                await self._wire.close()
                raise one
        return answers

    async def _run(self, script: str, keys: Sequence[str], *arguments: Any) -> Any:
        command = _script(script, keys, *arguments)
        try:
            return await self._wire.call(*command)
        except NoScriptError:
            await self._wire.call("SCRIPT", "LOAD", script)
            return await self._wire.call(*command)


def _script(text: str, keys: Sequence[str], *arguments: Any) -> Command:
    return ("EVALSHA", _SHA[text], len(keys), *keys, *arguments)


def _keys(streams: Sequence[Stream]) -> list[str]:
    return [key for one in streams for key in (one.key, one.refill)]


def _seen(looked: Any, streams: Sequence[Stream]) -> Seen:
    seen = Seen([], {}, [])
    for number, kind, *more in looked:
        stream = streams[number]
        if kind == b"absent":
            seen.absent.append(stream)
        elif kind == b"gap":
            seen.gaps[stream] = _gap(more[0])
        else:
            seen.refills.append(stream)
    return seen


def _gap(text: bytes) -> Gap:
    after, upto = text.decode().split(" ")
    return Gap(after, upto)


def _place(found: Sequence[Any]) -> Place:
    delivered, pending, least, gap, first, refill = found
    delivered = delivered.decode()
    done = delivered
    limits = [before(entry.decode()) for entry in (least, first) if entry]
    missing = _gap(gap) if gap else None
    if missing is not None:
        limits.append(missing.after)
    for limit in limits:
        if order(limit) < order(done):
            done = limit
    return Place(delivered, pending + refill, done, missing)


def _messages(answer: Any, by_key: Mapping[str, Stream]) -> list[Message]:
    if not answer:
        return []
    pairs = answer.items() if isinstance(answer, dict) else answer
    messages = []
    for key, entries in pairs:
        name = key.decode()
        stream = by_key[name]
        messages += [Message(stream, name, entry, fields[1] if fields else None) for entry, fields in entries]
    return messages
