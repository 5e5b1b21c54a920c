"""Follows the settled log from a position, for one reader's selection, in steps whose cost is known."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import UUID

import asyncpg

from cos.common import db
from cos.errors import Conflict
from cos.memory import feed_sql
from cos.memory.position import START, Position

if TYPE_CHECKING:
    from cos.common.pool import Connection, Pool
    from cos.memory.selection import Selection

#: Records looked at in one step.
WINDOW = 1000
#: Bytes of events given at once; a single larger one still comes, alone.
MOST_BYTES = 256 * 1024


class Entry(NamedTuple):
    """One event on its way to readers: where it stands, what filters look at, and its envelope as JSON."""

    position: Position
    module: str
    type: str
    subject: str | None
    id: UUID
    event: bytes


@dataclass(frozen=True, slots=True)
class Step:
    """What one step found.

    Attributes:
        entries: the wanted events, in order.
        position: everything wanted up to here has been given.
        at_end: nothing more had settled when this was read.
    """

    entries: list[Entry]
    position: Position
    at_end: bool


class Follower:
    """Reads steps of the log over a shared pool; keeps nothing of any reader."""

    def __init__(self, *, pool: Pool) -> None:
        """Take the connections."""
        self._pool = pool

    async def top(self) -> Position:
        """Give the last settled position; raises CosError when Postgres does not answer."""
        async with self._connected() as connection:
            row = await connection.fetchrow(feed_sql.SETTLED_TOP)
        return START if row is None else Position(row["xact"], row["seq"])

    async def check(self, position: Position) -> None:
        """Prove that a position can be one of this log.

        Raises:
            Conflict: its transaction lies ahead of everything that this Postgres has done.
            PostgresUnreachable: Postgres does not answer.
        """
        async with self._connected() as connection:
            reached = position == START or await connection.fetchval(feed_sql.IS_REACHED, position.xact)
        if not reached:
            raise Conflict(
                f"The log has not come to the position {position}: it belongs to another database, or this one was set "
                "back since. Begin anew, at 0-0 or without a position."
            )

    async def step(self, after: Position, wanted: Selection) -> Step:
        """Look at the next window after a position.

        Raises:
            PostgresUnreachable: Postgres does not answer, in words.
        """
        arguments: list[Any] = [*after, WINDOW, wanted.exact_types, wanted.type_beginnings]
        arguments.append(list(wanted.subjects) or None)
        statement = feed_sql.WINDOW
        if wanted.modules:
            statement = feed_sql.WINDOW_OF_MODULES
            arguments.append(list(wanted.modules))
        async with self._connected() as connection:
            rows = await connection.fetch(statement, *arguments)
            seen = [row for row in rows if row["xact"] is not None]
            matching, cut = _within([row for row in seen if row["bytes"] is not None])
            found: dict[UUID, str] = {}
            if matching:
                found = dict(await connection.fetch(feed_sql.ENVELOPES, [row["id"] for row in matching]))
        entries = [_entry(row, found[row["id"]]) for row in matching if row["id"] in found]
        if cut:
            return Step(entries, _place(matching[-1]), at_end=False)
        if len(seen) >= WINDOW:
            return Step(entries, _place(seen[-1]), at_end=False)
        top = Position(rows[0]["top_xact"], rows[0]["top_seq"]) if rows else START
        return Step(entries, max(after, top), at_end=True)

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[Connection]:
        async with self._pool.connection() as connection:
            try:
                yield connection
            except (*db.LOST, asyncpg.PostgresError) as error:
                raise self._pool.explain(error) from error


def _within(rows: Sequence[Any]) -> tuple[Sequence[Any], bool]:
    """Give the first rows that are small enough together, and whether some were left out."""
    total = 0
    for number, row in enumerate(rows):
        total += row["bytes"]
        if number and total > MOST_BYTES:
            return rows[:number], True
    return rows, False


def _place(row: Any) -> Position:
    return Position(row["xact"], row["seq"])


def _entry(row: Any, envelope: str) -> Entry:
    return Entry(_place(row), row["module"], row["type"], row["subject"], row["id"], envelope.encode())
