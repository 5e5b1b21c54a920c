"""A durable consumer of Redis streams, one of a group: at least once, with retries, dead letters, claims and a drain.

Who is the authority: Redis for what was handed out and what is done (the group's pending entries); the source, which
the `Keeper` keeps up to date, for what Redis has forgotten. The consumer remembers nothing that cannot be found again:

- *reading*: each round acknowledges, looks whether the streams are as they should be, and reads, in one transaction.
- *waiting*: with nothing to read it waits inside Redis, and handles what it is given there at once.
- *lost*: after any failure of Redis it asks first for what it was handed without hearing of it.

A process that dies leaves its messages pending; when they were silent for `claim_seconds`, another consumer takes them.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import structlog
from redis.exceptions import RedisError, ResponseError

from cos.common import clock, ids
from cos.common import redis as redis_client
from cos.common.subscriber_group import PRELUDE, Group, Seen
from cos.common.subscriber_keeper import Keeper
from cos.common.subscriber_lease import Lease
from cos.common.subscriber_policy import Desk, Graves, Message, Policy, Source, Stream
from cos.common.subscriber_work import Work
from cos.common.wire import Wire
from cos.errors import CosError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

    from redis.asyncio import Redis

_log = structlog.get_logger("cos.subscriber")

WAIT_SECONDS = 0.5
#: While calls are under way what is done is acknowledged at least so often.
SETTLE_SECONDS = 0.05
SWEEP_SECONDS = 600.0
FORGOTTEN_SECONDS = 3600.0
_CLAIM_MOST = 100


class Subscriber:
    """One consumer of a group; a background part. Its `keeper` needs turns too; `close` it when both have stopped."""

    def __init__(
        self,
        *,
        name: str,
        redis: Redis,
        redis_url: str,
        gaps: str,
        source: Source,
        desk: Desk,
        graves: Graves,
        policy: Policy,
    ) -> None:
        """Take what is needed; connections are made by the turns.

        Args:
            name: of the group.
            redis: client whose address is used; the consumer has connections of its own.
            redis_url: of the client, named in messages.
            gaps: key of the hash that holds the group's gaps.
            source: knows the streams, and what was ever in them.
            desk: handles messages.
            graves: keeps what could not be handled.
            policy: limits.
        """
        self.name = name
        self.policy = policy
        self.source = source
        self.claimed = 0
        self._redis_url = redis_url
        self._wire = Wire(redis=redis, prelude=PRELUDE)
        self._waiting_wire = Wire(redis=redis)
        self._keeping_wire = Wire(redis=redis, prelude=PRELUDE)
        consumer = ids.random_hex(8)
        self._group = Group(wire=self._wire, name=name, consumer=consumer, gaps=gaps, ordered=policy.ordered)
        self._lock = asyncio.Lock()
        self._awake = asyncio.Event()
        lease_seconds = policy.claim_seconds if policy.ordered else None
        self._lease = Lease(seconds=lease_seconds, lapsed=self._lapse)
        self.work = Work(
            name=name,
            desk=desk,
            graves=graves,
            policy=policy,
            begin=self._begin,
            restore=lambda message: source.at(message.stream, message.id.decode()),
            wake=self._awake.set,
            may_begin=self._lease.is_valid,
        )
        self.keeper = Keeper(
            group=Group(wire=self._keeping_wire, name=name, consumer=consumer, gaps=gaps),
            source=source,
            redis_url=redis_url,
            created=self._awake.set,
            lease_seconds=lease_seconds,
        )
        self._streams: Sequence[Stream] = ()
        self._readable: list[Stream] = []
        self._refills: list[Stream] = []
        self._held_back: set[Stream] = set()
        self._active = 1
        self._waiting: asyncio.Task[Any] | None = None
        self._is_lost = False
        self._kept_at = self._owned_at = float("-inf")
        self._swept_at = clock.monotonic()

    async def turn(self) -> float:
        """Do one round: acknowledge, look after what is held, read or wait.

        Raises:
            RedisUnreachable: in words; what is held goes on being handled, and the next turn begins anew.
        """
        try:
            await self._round()
        except (RedisError, OSError) as error:
            self._is_lost = True
            self._owned_at = float("-inf")  # it may come back without its memory
            await self._stop_waiting()
            raise redis_client.connect_error(self._redis_url, error) from error
        return 0

    def retire(self) -> None:
        """Begin no more calls; what is under way goes on."""
        self.work.retire()

    async def close(self) -> None:
        """End: finish the calls under way within the limit, give back the rest for others to take at once."""
        await self._stop_waiting()
        await self.work.drain(self.policy.drain_seconds)
        self._lease.close()
        with suppress(*redis_client.LOST):
            async with asyncio.timeout(redis_client.COMMAND_TIMEOUT_SECONDS):
                await self._group.settle(self.work.take_done())
                for stream in {*self._streams, *(m.stream for m in self.work.held.values())}:
                    for key in (stream.key, stream.refill):
                        held = [m for m in self.work.held.values() if m.key == key]
                        await self._group.park(key, held)
                if self.policy.ordered:
                    await self._group.disown(self._readable)
        with suppress(CosError, *redis_client.LOST):
            await self.keeper.keep_places()
        for wire in (self._wire, self._waiting_wire, self._keeping_wire):
            await wire.close()

    async def _round(self) -> None:
        await self._find_streams()
        await self._look_after_held()
        if self._waiting is None:
            if await self._read():
                return
            if self.work.room > 0 and not self._refills:
                await self._start_waiting()
        await self._rest()

    async def _find_streams(self) -> None:
        streams = await self.source.streams()
        if streams is not self._streams:
            self._streams = streams
            self.keeper.streams = streams
            await self._stop_waiting()
            self._refills = []
            self._held_back = set()
            self._owned_at = float("-inf")
            if not self.policy.ordered:
                self._readable = list(streams)
        if self.policy.ordered and clock.monotonic() - self._owned_at >= self.policy.claim_seconds / 3:
            await self._own()
        if self._is_lost:
            await self._recover()
            self._is_lost = False

    async def _own(self) -> None:
        """Ask for the streams of an ordered group; what the owner before has left comes before anything new.

        One that was lost is asked for again only when nothing of it is at work here any more: who has it anew begins
        at its place there, and nothing that was read before may come in between.
        """
        if not self._lease.is_valid():
            self._lapse()
        self._let_go_but(self._readable)
        asked_at = clock.monotonic()
        asked = [one for one in self._streams if one in self._readable or not self.work.is_busy_with(one)]
        owned = await self._locked(
            lambda: self._group.own(asked, lease_seconds=self.policy.claim_seconds, marks=self._lease.marks)
        )
        is_valid = self._lease.is_valid()
        self._lease.answered(owned, asked, asked_at=asked_at)
        if not is_valid:
            self._lapse()
        lost = self._let_go_but(owned.ours)
        new = [one for one in owned.ours if one not in self._readable]
        self._readable = [one for one in self._readable if one in owned.ours]
        if lost or new:
            await self._stop_waiting()
        for stream in lost:
            for key in (stream.key, stream.refill):
                await self._locked(partial(self._group.park, key, []))
        for stream in new:
            for key in (stream.refill, stream.key):
                await self._claim(stream, key, idle_seconds=0.0)
        if owned.forgotten:
            self.keeper.attend(Seen(owned.forgotten, {}, []))
        self._held_back.update(new)  # until a look has shown that nothing older waits elsewhere
        self._readable = owned.ours
        is_settled = len(asked) == len(self._streams) and not self._lease.marks and not owned.forgotten
        self._owned_at = asked_at if is_settled else float("-inf")

    def _lapse(self) -> None:
        """Let go of the streams of an ordered group: they were not confirmed in time, and may be another's soon."""
        self._let_go_but([])
        self._readable = []
        self._owned_at = float("-inf")

    def _let_go_but(self, kept: Sequence[Stream]) -> list[Stream]:
        """Let go of what is held of other streams than these; gives those streams, and what was readable of them."""
        gone = [one for one in dict.fromkeys((*self._readable, *self.work.streams)) if one not in kept]
        for stream in gone:
            self.work.cut_short(stream)
        return gone

    async def _recover(self) -> None:
        """Take up what was handed to us while the connection was lost: nobody else knows of it for a while."""
        await self._settle()
        for stream in self._readable:
            for key in (stream.refill, stream.key):
                await self._claim(stream, key, idle_seconds=0.0, mine=True)

    async def _claim(self, stream: Stream, key: str, *, idle_seconds: float, mine: bool = False) -> None:
        everything = idle_seconds == 0.0
        while True:
            most = len(self.work.held) + _CLAIM_MOST
            found = await self._locked(
                partial(self._group.claim, stream, key, idle_seconds=idle_seconds, most=most, mine=mine)
            )
            new = [m for m in found if not self.work.knows(m)]
            for message in new:
                if mine:  # handed to us and never begun, or given back by ourselves
                    message.suspect = False
                    message.begun -= 1 if message.begun == 1 else 0
            if not self._lease.is_valid():
                return  # it is claimed again by whoever has the stream then
            self.claimed += len(new)
            self.work.accept(new)
            if not (everything and new):
                return

    async def _look_after_held(self) -> None:
        """Say that we live, take over what the dead have left, forget the consumers that are long gone."""
        now = clock.monotonic()
        if now - self._kept_at < self.policy.claim_seconds / 3:
            return
        self._kept_at = now
        if self.work.held:
            held = list(self.work.held.values())
            self.work.drop(await self._locked(lambda: self._group.hold(held)))
        for stream in self._readable:
            for key in (stream.key, stream.refill):
                if self.work.room > 0:
                    await self._claim(stream, key, idle_seconds=self.policy.claim_seconds)
        if now - self._swept_at >= SWEEP_SECONDS:
            self._swept_at = now
            for stream in self._streams:
                await self._locked(partial(self._group.sweep, stream.key, idle_seconds=FORGOTTEN_SECONDS))

    async def _read(self) -> bool:
        """Acknowledge what is done and read what is new; says whether there may be more at once."""
        if not self._readable:
            await self._settle()
            return False
        room, streams, refills = self.work.room, self._readable, self._refills
        fresh = [one for one in streams if one not in self._held_back] if room > 0 else []
        count = max(1, room // self._active)
        done = self.work.take_done()
        try:
            seen, messages = await self._locked(
                lambda: self._group.read(streams, fresh, refills if room > 0 else [], count=count, done=done)
            )
        except BaseException:
            self.work.give_back_done(done)
            raise
        self._refills = seen.refills
        self._held_back = set(seen.absent)
        if self.policy.ordered:
            self._held_back.update(seen.gaps, seen.refills)  # what was missed comes first
        if seen.absent or seen.gaps:
            self.keeper.attend(seen)
        if seen.absent:
            self._owned_at = float("-inf")  # Redis has forgotten the group, so who reads for it too
        if messages and self._lease.is_valid():
            self._active = len({m.key for m in messages})
            self.work.accept(messages)
        return bool(messages) and self.work.room > self.policy.prefetch // 2

    async def _settle(self) -> None:
        """Acknowledge what is done, and nothing else."""
        done = self.work.take_done()
        try:
            await self._locked(lambda: self._group.settle(done))
        except BaseException:
            self.work.give_back_done(done)
            raise

    async def _start_waiting(self) -> None:
        streams = [one for one in self._readable if one not in self._held_back]
        if not streams:
            return
        if self.policy.ordered:
            # Without taking: whether the streams still are ours to read is asked when there is something.
            places = await self._locked(lambda: self._group.places(streams))
            last = [places[one].delivered if one in places else "0-0" for one in streams]
            keys = [one.key for one in streams]
            milliseconds = round(WAIT_SECONDS * 1000)
            command: tuple[Any, ...] = ("XREAD", "COUNT", 1, "BLOCK", milliseconds, "STREAMS", *keys, *last)
        else:
            command = self._group.waiting(streams, count=self.work.room, block_seconds=WAIT_SECONDS)
        self._waiting = asyncio.get_running_loop().create_task(
            self._wait(command, streams), name=f"subscriber:{self.name}:wait"
        )

    async def _wait(self, command: tuple[Any, ...], streams: Sequence[Stream]) -> None:
        """Wait inside Redis, and hand what comes to the workers without a detour."""
        try:
            answer = await self._waiting_wire.call(*command, block_seconds=WAIT_SECONDS)
        except ResponseError as error:
            if not str(error).startswith("NOGROUP"):
                raise
            return  # the next look says what is missing
        if not self.policy.ordered:
            self.work.accept(self._group.waited(answer, streams))

    async def _stop_waiting(self) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            self._is_lost = self._is_lost or not waiting.done()
            waiting.cancel()
            await asyncio.wait([waiting], timeout=1.0)
            await self._waiting_wire.close()

    async def _rest(self) -> None:
        """Wait for news: an entry, room, or something to acknowledge."""
        waiting = self._waiting
        self._awake.clear()
        seconds = SETTLE_SECONDS if self.work.done or self.work.running else WAIT_SECONDS
        waker = asyncio.get_running_loop().create_task(
            self._awake.wait(), name=f"subscriber:{self.name}:rest"
        )
        try:
            await asyncio.wait(
                {waker, waiting} if waiting is not None else {waker},
                timeout=seconds,
                return_when=asyncio.FIRST_COMPLETED,
            )
        finally:
            waker.cancel()
        if waiting is not None and waiting.done():
            self._waiting = None
            waiting.result()
        elif waiting is not None and self.work.done:
            await self._settle()

    async def _begin(self, messages: Iterable[Message]) -> set[tuple[str, bytes]]:
        held = list(messages)
        lost: set[tuple[str, bytes]] = await self._locked(lambda: self._group.hold(held, begin=True))
        return lost

    async def _locked(self, call: Callable[[], Awaitable[Any]]) -> Any:
        """Use the connection alone: workers begin attempts over the one that reads."""
        async with self._lock:
            return await call()
