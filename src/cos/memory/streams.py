"""The streams in Redis: their names, and the one script that adds events and publishes them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import msgspec
from redis.asyncio import Redis

from cos.common import messages
from cos.common import redis as redis_client
from cos.common.subscriber_policy import Stream
from cos.memory.position import Position

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

_pack = msgspec.msgpack.Encoder().encode

#: The one field of a stream entry: the event's envelope as JSON.
FIELD = "event"

# Adds a batch to one module's stream, each entry under its position, and publishes what it added. The caller says
# after which entry its batch begins. If the stream's last id is another one, nothing is added and that id is given
# back: a lower one means that Redis lost its tail, a higher one that another relay was here.
# KEYS: stream. ARGV: channel, expected last id, and one MessagePack array of id and event, again and again: as
# arguments of their own they would cost the client ten times as much.
_ADD = """
local last = '0-0'
local info = redis.pcall('XINFO', 'STREAM', KEYS[1])
if not info.err then
    for i = 1, #info, 2 do
        if info[i] == 'last-generated-id' then last = info[i + 1] end
    end
end
if last ~= ARGV[2] then return last end
local batch = cmsgpack.unpack(ARGV[3])
for i = 1, #batch, 2 do
    redis.call('XADD', KEYS[1], batch[i], 'event', batch[i + 1])
    redis.call('PUBLISH', ARGV[1], batch[i + 1])
end
return ''
"""

# Gives the last ids of many streams in one call. KEYS: streams.
_TOPS = """
local tops = {}
for n = 1, #KEYS do
    tops[n] = '0-0'
    local info = redis.pcall('XINFO', 'STREAM', KEYS[n])
    if not info.err then
        for i = 1, #info, 2 do
            if info[i] == 'last-generated-id' then tops[n] = info[i + 1] end
        end
    end
end
return tops
"""


class Streams:
    """One generation of the module streams of one Redis."""

    def __init__(self, *, redis: Redis, namespace: str) -> None:
        """Name the streams.

        Args:
            redis: an async client without response decoding.
            namespace: first part of each key and channel.
        """
        self._redis = redis
        self._namespace = namespace

    def key(self, module: str, generation: int) -> str:
        """Give the key of a module's stream."""
        return f"{self._namespace}.stream.{module}.{generation}"

    def channel(self, module: str) -> str:
        """Give the live channel of a module."""
        return f"{self._namespace}.recorded.{module}"

    def of_group(self, group: str, module: str, generation: int) -> Stream:
        """Give the keys that a consumer group uses for a module's stream."""
        place = f"{group}:{module}:{generation}"
        return Stream(
            key=self.key(module, generation),
            refill=f"{self._namespace}.refill:{place}",
            owner=f"{self._namespace}.owner:{place}",
        )

    def gaps(self, group: str) -> str:
        """Give the key of the hash that tells what a group has yet to be brought."""
        return f"{self._namespace}.gaps:{group}"

    @property
    def doorbell(self) -> str:
        """Give the channel on which other processes ring for the relay."""
        return f"{self._namespace}.doorbell"

    @property
    def meta(self) -> str:
        """Give the key of the hash that says whose streams these are."""
        return f"{self._namespace}.highway"

    async def tops(self, modules: Sequence[str], generation: int) -> dict[str, Position]:
        """Give the last id of each module's stream, START for a stream that is not there."""
        if not modules:
            return {}
        keys = [self.key(module, generation) for module in modules]
        last: Any = await cast("Any", self._redis.eval(_TOPS, len(keys), *keys))
        return {module: Position.parse(top.decode()) for module, top in zip(modules, last, strict=True)}

    async def add(
        self, batches: Sequence[tuple[str, Position, Sequence[tuple[Position, str]]]], generation: int
    ) -> dict[str, Position]:
        """Add a batch to each of some streams, and publish it.

        Args:
            batches: module, position after which its batch begins, and the events (JSON text) with their positions.
            generation: of the streams.

        Returns:
            For each module whose stream ended elsewhere, where it ended; nothing was added there.

        Raises:
            RedisError: Redis did not answer, or refused; what was added before stays, and the next call sees it.
        """
        commands: list[tuple[str | bytes | int, ...]] = []
        for module, after, events in batches:
            batch = [text for position, event in events for text in (f"{position[0]}-{position[1]}", event)]
            key, channel = self.key(module, generation), self.channel(module)
            commands.append(("EVAL", _ADD, 1, key, channel, str(after), _pack(batch)))
        answers = await redis_client.send_together(self._redis, commands)
        return {
            module: Position.parse(answer.decode())
            for (module, _, _), answer in zip(batches, answers, strict=True)
            if answer
        }

    async def entry(self, module: str, generation: int, position: Position) -> dict[bytes, bytes] | None:
        """Give the fields of the entry at a position, None if the stream holds no such entry."""
        found: Any = await self._redis.xrange(
            self.key(module, generation), min=str(position), max=str(position), count=1
        )
        return found[0][1] if found else None

    async def entry_id(self, module: str, generation: int, position: Position) -> UUID | None:
        """Give the record id inside the entry at a position, None if the stream holds no such entry."""
        found = await self.entry(module, generation, position)
        return None if found is None else messages.decode(found[FIELD.encode()]).id

    async def generation(self) -> int | None:
        """Give the number of the generation that Redis holds, None if it holds none."""
        number: Any = await cast("Any", self._redis.hget(self.meta, "generation"))
        return None if number is None else int(number)

    async def length(self, module: str, generation: int) -> int:
        """Give the number of entries of a module's stream."""
        length: int = await self._redis.xlen(self.key(module, generation))
        return length
