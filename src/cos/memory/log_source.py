"""What a consumer group asks of the log: its streams, where it begins, and what Redis does not hold any more."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Literal

import asyncpg
import msgspec

from cos.common import clock, db
from cos.common.subscriber_policy import Stream
from cos.memory import generation, highway_sql
from cos.memory.position import START, Position

if TYPE_CHECKING:
    from cos.common.pool import Connection, Pool
    from cos.memory.directory import Directory
    from cos.memory.streams import Streams

Begin = Literal["oldest", "newest"]

_SEQ_MOST = 2**63 - 1


class LogSource:
    """The log as one group sees it; a `cos.common.subscriber_policy.Source`."""

    def __init__(
        self,
        *,
        group: str,
        modules: Sequence[str] | None,
        begin: Begin,
        definition: dict[str, Any],
        directory: Directory,
        pool: Pool,
        streams: Streams,
    ) -> None:
        """Take what is needed.

        Args:
            group: its name.
            modules: whose streams it reads; None for all, also those that come later.
            begin: where a new group begins: with the oldest record, or after the newest.
            definition: what is told of the group, as JSON values.
            directory: knows the streams.
            pool: to the log.
            streams: names the keys.
        """
        self._group = group
        self._modules = None if modules is None else tuple(modules)
        self._begin: Begin = begin
        self._definition = definition
        self._directory = directory
        self._pool = pool
        self._names = streams
        self._seen: tuple[int, tuple[str, ...]] | None = None
        self._streams: list[Stream] = []
        self._of: dict[Stream, tuple[str, int]] = {}
        self._registered = False

    async def streams(self) -> Sequence[Stream]:
        """Give the streams of the current generation; the same list until something changes."""
        if not self._registered:
            await self._register()
        number, modules = await self._directory.current()
        wanted = (number, modules if self._modules is None else self._modules)
        if number and wanted != self._seen:
            self._seen = wanted
            self._streams = [self._names.of_group(self._group, module, number) for module in wanted[1]]
            self._of.update(zip(self._streams, ((module, number) for module in wanted[1]), strict=True))
        return self._streams

    def place_of(self, stream: Stream) -> tuple[str, int]:
        """Give the module and the generation of a stream."""
        return self._of[stream]

    async def begin(self, stream: Stream) -> str:
        """Give the position after which the group reads a stream in which it has no place."""
        module, number = self._of[stream]
        async with self._connected() as connection:
            row = await connection.fetchrow(highway_sql.GROUP_BEGINS, self._group, number, module)
        return str(START if row is None or row["xact"] is None else Position(row["xact"], row["seq"]))

    @asynccontextmanager
    async def beginning(self, stream: Stream) -> AsyncIterator[bool]:
        """Keep other processes from beginning the stream, say whether the group was ever there, and keep that it was.

        It was there, too, when it read the module in an earlier generation: who read that may still be at work.
        """
        module, number = self._of[stream]
        async with self._connected() as connection, connection.transaction():
            await connection.execute(highway_sql.ALONE_IN_BEGINNING, f"{self._group} {module}")
            was_there = await connection.fetchval(highway_sql.GROUP_WAS_THERE, self._group, module)
            yield was_there
            # Last, so that the transaction, which the relay has to wait for once it writes, writes for a moment only.
            await connection.execute(highway_sql.GROUP_IS_THERE, self._group, number, module, clock.now())

    async def between(self, stream: Stream, after: str, upto: str, most: int) -> Sequence[tuple[str, bytes]]:
        """Give the first records of a stream's module after one position, up to another."""
        module, _ = self._of[stream]
        first, last = _bounded(after), _bounded(upto)
        async with self._connected() as connection:
            rows = await connection.fetch(highway_sql.BETWEEN, module, *first, *last, most)
        return [(f"{row[0]}-{row[1]}", row[2].encode()) for row in rows]

    async def at(self, stream: Stream, entry: str) -> bytes | None:
        """Give the record at a position, None if there is none."""
        module, _ = self._of[stream]
        async with self._connected() as connection:
            found: str | None = await connection.fetchval(highway_sql.ENVELOPE_AT, *_bounded(entry), module)
        return None if found is None else found.encode()

    async def reached(self, places: dict[Stream, str]) -> None:
        """Keep how far the group is."""
        by_number: dict[int, list[tuple[str, Position]]] = {}
        for stream, place in places.items():
            module, number = self._of[stream]
            by_number.setdefault(number, []).append((module, _bounded(place)))
        async with self._connected() as connection:
            for number, found in by_number.items():
                found.sort()  # processes of a group write the same rows: in one order, none waits in a ring
                names, positions = zip(*found, strict=True)
                await connection.execute(
                    highway_sql.GROUP_REACHED,
                    self._group,
                    number,
                    list(names),
                    [str(one.xact) for one in positions],
                    [one.seq for one in positions],
                    clock.now(),
                )

    async def _register(self) -> None:
        async with self._connected() as connection:
            life = await generation.in_postgres(connection)
            place = START
            if self._begin == "newest":
                row = await connection.fetchrow(highway_sql.SETTLED_TOP)
                place = START if row is None else Position(row["xact"], row["seq"])
            await connection.execute(
                highway_sql.REGISTER_GROUP,
                self._group,
                1 if life is None else life.number,  # the first is number 1
                *place,
                msgspec.json.encode(self._definition).decode(),
                clock.now(),
            )
        self._registered = True

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[Connection]:
        async with self._pool.connection() as connection:
            try:
                yield connection
            except (*db.LOST, asyncpg.PostgresError) as error:
                raise self._pool.explain(error) from error


def _bounded(entry: str) -> Position:
    xact, _, seq = entry.partition("-")
    return Position(int(xact), min(int(seq or 0), _SEQ_MOST))
