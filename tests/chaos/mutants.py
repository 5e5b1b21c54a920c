"""Faults of the code itself, each put into the processes on request: the checker has to find them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

#: Each mutant: what is broken, and the faults under which it shows.
KNOWN = {
    "ack-first": ("a message is acknowledged before it is handled", ["worker.kill", "cos.kill"]),
    "no-horizon": ("the relay reads past transactions that are still open", ["horizon", "redis.clients"]),
    "blind-relay": (
        "the relay trusts its own memory of where a stream ends",
        ["redis.flush", "stream.delete"],
    ),
    "no-refill": ("what was trimmed before it was read is not brought back", ["stream.trim"]),
    "no-claim": ("nobody takes over what a dead consumer held", ["worker.kill"]),
    "newest-again": ("a group that Redis forgot begins at the end", ["redis.flush", "redis.wipe"]),
    "unordered": ("an ordered group handles the events of one subject side by side", ["redis.clients"]),
    "two-owners": (
        "every process believes that it owns the streams of an ordered group",
        ["redis.flush", "worker.freeze"],
    ),
    "same-life": ("streams go on although the log was set back", ["postgres.restore"]),
    "loose-cursor": (
        "a projection's writes are not in the transaction of its cursor",
        ["postgres.backends", "cos.kill", "worker.kill", "way.postgres.reset"],
    ),
    "forgetful-feed": ("a reader's last position is ignored", ["reader.leave", "cos.kill"]),
    "no-keys": ("idempotency keys are dropped", ["way.postgres.reset", "cos.kill", "postgres.backends"]),
    "early-publish": ("an event is published before its transaction has committed", ["redis.clients"]),
    "silent-drop": ("a message that failed too often is not buried", ["redis.clients"]),
}


def apply(name: str) -> None:
    """Break the code of this process."""
    if name:
        breaking: dict[str, Callable[[], None]] = {
            "ack-first": _ack_first,
            "no-horizon": _no_horizon,
            "blind-relay": _blind_relay,
            "no-refill": _no_refill,
            "no-claim": _no_claim,
            "newest-again": _newest_again,
            "unordered": _unordered,
            "two-owners": _two_owners,
            "same-life": _same_life,
            "loose-cursor": _loose_cursor,
            "forgetful-feed": _forgetful_feed,
            "no-keys": _no_keys,
            "early-publish": _nothing,  # done by the producers, see `producers.py`
            "silent-drop": _silent_drop,
        }
        breaking[name]()


def _nothing() -> None:
    """Leave this process as it is."""


def _ack_first() -> None:
    from cos.common.subscriber_work import Work  # noqa: PLC0415  (only what is broken is loaded)

    call = Work._call

    async def broken(self: Any, batch: Any, deadline: Any) -> None:
        for message in batch:
            self.done.setdefault(message.key, []).append(message.id)
        self._wake()
        await asyncio.sleep(0.02)  # house: sleep (until it is acknowledged)
        await call(self, batch, deadline)

    Work._call = broken


def _no_horizon() -> None:
    from cos.memory import sql  # noqa: PLC0415  (as above)

    sql.READ_SETTLED = sql.READ_SETTLED.replace("AND xact < pg_snapshot_xmin(pg_current_snapshot())", "")


def _blind_relay() -> None:
    from cos.memory import streams  # noqa: PLC0415  (as above)
    from cos.memory.l15_highway import Relay  # noqa: PLC0415  (as above)

    streams._ADD = streams._ADD.replace("if last ~= ARGV[2] then return last end", "")

    async def blind(self: Any) -> None:
        self._verified_at = float("inf")

    Relay._verify = blind


def _no_refill() -> None:
    from cos.common.subscriber_keeper import Keeper  # noqa: PLC0415  (as above)

    async def broken(self: Any, stream: Any, gap: Any) -> None:
        await self._group.pour(stream, gap, [], None)

    Keeper._fill = broken


def _no_claim() -> None:
    from cos.common.subscriber import Subscriber  # noqa: PLC0415  (as above)

    async def broken(self: Any, *given: Any, **more: Any) -> None:
        del self, given, more

    Subscriber._claim = broken


def _newest_again() -> None:
    from cos.memory.log_source import LogSource  # noqa: PLC0415  (as above)

    begin = LogSource.begin

    async def broken(self: Any, stream: Any) -> str:
        module, number = self.place_of(stream)
        found: str = await begin(self, stream)
        async with self._connected() as connection:
            row = await connection.fetchrow(
                "SELECT xact, seq FROM l1.record WHERE module = $1 ORDER BY xact DESC, seq DESC LIMIT 1",
                module,
            )
        return found if row is None or number < 0 else f"{row['xact']}-{row['seq']}"

    LogSource.begin = broken


def _unordered() -> None:
    from cos.memory.desk import EventDesk  # noqa: PLC0415  (as above)

    open_ = EventDesk.open

    def broken(self: Any, message: Any) -> bool:
        wanted = open_(self, message)
        message.lane = message.id.decode()
        return wanted

    EventDesk.open = broken


def _two_owners() -> None:
    from cos.common.subscriber_group import Group, Owned  # noqa: PLC0415  (as above)

    init = Group.__init__

    def broken(self: Any, **given: Any) -> None:
        init(self, **given | {"ordered": False})

    async def own(self: Any, streams: Any, **given: Any) -> Owned:
        del self, given
        return Owned(list(streams), [], {})

    Group.__init__ = broken
    Group.own = own


def _same_life() -> None:
    from cos.memory.l15_highway import Relay  # noqa: PLC0415  (as above)

    async def broken(*given: Any) -> bool:
        return bool(given)

    Relay._is_ours = broken


def _loose_cursor() -> None:
    from cos.memory.projector import Projector  # noqa: PLC0415  (as above)

    inside = Projector._apply

    async def broken(self: Any, connection: Any, events: Any) -> None:
        if not self.applied:
            await inside(self, connection, events)  # the tables may be made in this very transaction
            return
        async with self._pool.connection() as other:
            await other.execute("SET search_path TO projection_chain, public")
            await inside(self, other, events)
        await asyncio.sleep(0.02)  # house: sleep (the time in which a fault may strike)

    Projector._apply = broken


def _forgetful_feed() -> None:
    from cos.backend.events.live import Live  # noqa: PLC0415  (as above)

    init = Live.__init__

    def broken(self: Any, *, feed: Any, wanted: Any, since: Any) -> None:
        del since
        init(self, feed=feed, wanted=wanted, since=None)

    Live.__init__ = broken


def _no_keys() -> None:
    import msgspec  # noqa: PLC0415  (as above)

    from cos.memory.lane import Lane  # noqa: PLC0415  (as above)

    write = Lane.write

    async def broken(self: Any, events: Any) -> Any:
        return await write(self, [msgspec.structs.replace(one, idempotency_key=None) for one in events])

    Lane.write = broken


def _silent_drop() -> None:
    from cos.memory.dead_letters import Graveyard  # noqa: PLC0415  (as above)

    async def broken(self: Any, message: Any, error: Any) -> None:
        del self, message, error

    Graveyard.bury = broken
