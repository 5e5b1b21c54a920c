"""The keeper of a consumer group: its place where Redis cannot lose it, and what Redis has lost brought back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from cos.common import redis as redis_client
from cos.common.subscriber_group import Gap, Group, Seen, before, order
from cos.common.subscriber_policy import Source, Stream

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_log = structlog.get_logger("cos.subscriber")

KEEP_SECONDS = 1.0
#: While a refill is full, how long until it is looked at again.
FULL_SECONDS = 0.05
_POUR_MOST = 500
_POUR_BELOW = 1000


class Keeper:
    """Keeps a group's place where it cannot be lost, and brings back what Redis has lost; a background part."""

    def __init__(
        self,
        *,
        group: Group,
        source: Source,
        redis_url: str,
        created: Callable[[], None],
        lease_seconds: float | None = None,
    ) -> None:
        """Take what is needed.

        Args:
            group: over a connection of the keeper's own.
            source: where places are kept and lost entries are read.
            redis_url: named in messages.
            created: told when the group has its place in streams that it could not read.
            lease_seconds: how long a consumer of an ordered group may own a stream; None for any other group.
        """
        self.streams: Sequence[Stream] = ()
        self.refilled = 0
        self.busy = False
        self._poured = False
        self._group = group
        self._source = source
        self._redis_url = redis_url
        self._created = created
        self._lease_seconds = lease_seconds
        self._absent: list[Stream] = []
        self._gaps: dict[Stream, Gap] = {}
        self._kept: dict[Stream, str] = {}
        self._ring: Callable[[], None] = lambda: None

    def rung_by(self, ring: Callable[[], None]) -> None:
        """Take what brings the next turn at once."""
        self._ring = ring

    def attend(self, seen: Seen) -> None:
        """See to streams that cannot be read, or of which something is missing."""
        if not self.busy:
            self._absent, self._gaps = seen.absent, seen.gaps
            self.busy = True
            self._ring()
        else:  # a gap may take long to be filled, and needs readers for it
            self._absent = list(dict.fromkeys((*self._absent, *seen.absent)))

    async def turn(self) -> float:
        """Give the group its place where it has none, fill gaps, and keep how far it is.

        Raises:
            CosError: Redis or the source does not answer; the next turn begins anew.
        """
        try:
            if self.busy:
                await self._mend()
            await self.keep_places()
        except redis_client.LOST as error:
            raise redis_client.connect_error(self._redis_url, error) from error
        if not self.busy:
            return KEEP_SECONDS
        return 0 if self._poured else FULL_SECONDS

    async def keep_places(self) -> None:
        """Keep up to which entry all is done in each stream, where that has changed."""
        places = {stream: place.done for stream, place in (await self._group.places(self.streams)).items()}
        moved = {stream: done for stream, done in places.items() if self._kept.get(stream) != done}
        if moved:
            await self._source.reached(moved)
            self._kept = places

    async def _mend(self) -> None:
        for stream in self._absent:
            await self._create(stream)
        self._absent = []
        self._poured = False
        for stream, gap in list(self._gaps.items()):
            rest = await self._fill(stream, gap)
            if rest is None:
                del self._gaps[stream]
            else:
                self._gaps[stream] = rest
        self.busy = bool(self._gaps)
        self._created()

    async def _create(self, stream: Stream) -> None:
        after = await self._source.begin(stream)
        first = await self._group.first(stream)
        if first is not None and order(after) < order(before(first)):
            missing = await self._source.between(stream, after, before(first), 1)
            if not missing:
                after = before(first)
        if self._lease_seconds is None:
            await self._group.create(stream, after)
        else:
            async with self._source.beginning(stream) as was_there:
                await self._group.create_ordered(
                    stream, after, was_there=was_there, lease_seconds=self._lease_seconds
                )
        _log.info("group_begins", group=self._group.name, stream=stream.key, after=after)

    async def _fill(self, stream: Stream, gap: Gap) -> Gap | None:
        """Bring some of a gap into the refill; gives what is left of it."""
        if await self._group.refill_length(stream) >= _POUR_BELOW:
            return gap
        entries = await self._source.between(stream, gap.after, gap.upto, _POUR_MOST)
        rest = Gap(entries[-1][0], gap.upto) if len(entries) == _POUR_MOST else None
        await self._group.pour(stream, gap, entries, rest)
        self._poured = True
        if entries:
            self.refilled += len(entries)
            _log.warning("stream_refilled", group=self._group.name, stream=stream.key, entries=len(entries))
        return rest
