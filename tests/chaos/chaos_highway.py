"""What the processes under faults subscribe to; `COS_SUBSCRIBERS` names this module.

Each handler writes one line for an event that it has handled, into a file of its process, with the time of the
machine's monotonic clock, which all processes share.
"""

from __future__ import annotations

import asyncio
import os
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import msgspec
import mutants
from fold import link

from cos.common import clock
from cos.memory.delivery import Event
from cos.memory.highway import Highway

highway = Highway()
_FOLDER = Path(os.environ["CHAOS_FOLDER"])
_NAME = os.environ["CHAOS_NAME"]
_FILE = os.open(_FOLDER / f"{_NAME}-{os.getpid()}.seen", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
QUICK: dict[str, Any] = {
    "types": ["work"],
    "attempts": 6,
    "first_retry_seconds": 0.02,
    "last_retry_seconds": 0.2,
    "claim_seconds": 1.0,
    "prefetch": 40,
}


class Work(msgspec.Struct):
    token: str
    poison: bool = False
    flaky: bool = False


class JumpingClock:
    """The machine's clock, moved by what a file says."""

    def now(self) -> datetime:
        try:
            offset = float((_FOLDER / f"{_NAME}.clock").read_text())
        except (OSError, ValueError):
            offset = 0.0
        return datetime.now(UTC) + timedelta(seconds=offset)

    def monotonic(self) -> float:
        return time.monotonic()


clock._current = JumpingClock()
mutants.apply(os.environ.get("CHAOS_MUTANT", ""))


def note(group: str, events: list[Event[Work]], began: int = 0) -> None:
    now = time.monotonic_ns()
    text = "".join(
        f"{now} {group} {one.data.token} {one.position} {one.attempt} {began or now}\n" for one in events
    )
    os.write(_FILE, text.encode())


@highway.subscriber(group="plain", concurrency=4, **QUICK)
async def plain(event: Event[Work]) -> None:
    await asyncio.sleep(0.002)  # house: sleep (work that takes its time, so that a fault may strike in it)
    note("plain", [event])


@highway.subscriber(group="batch", batch=20, **QUICK)
async def batch(events: list[Event[Work]]) -> None:
    await asyncio.sleep(0.005)  # house: sleep (as above)
    note("batch", events)


@highway.subscriber(group="ordered", ordered=True, concurrency=4, **QUICK)
async def ordered(event: Event[Work]) -> None:
    began = time.monotonic_ns()
    # The later ones are the quicker ones: without order they overtake.
    await asyncio.sleep(0.001 * (5 - event.position.seq % 5))  # house: sleep (as above)
    note("ordered", [event], began)


@highway.subscriber(group="picky", concurrency=2, **QUICK)
async def picky(event: Event[Work]) -> None:
    if event.data.poison:
        raise ValueError(f"{event.data.token} cannot be handled")
    if event.data.flaky and event.attempt == 1:
        raise RuntimeError("not at the first attempt")
    note("picky", [event])


@highway.projection(
    name="chain",
    types=["work"],
    batch=50,
    setup="CREATE TABLE chain (module text PRIMARY KEY, events bigint NOT NULL, head text NOT NULL)",
)
async def apply(connection: asyncpg.Connection, events: list[Event[Work]]) -> None:
    """Fold the events into one hash a module, which shows every loss, repetition and change of order."""
    rows = await connection.fetch("SELECT module, events, head FROM chain")
    heads = {row["module"]: (row["events"], row["head"]) for row in rows}
    for one in events:
        count, head = heads.get(one.module, (0, ""))
        heads[one.module] = (count + 1, link(head, str(one.id)))
    for module, (count, head) in heads.items():
        await connection.execute(
            "INSERT INTO chain VALUES ($1, $2, $3) ON CONFLICT (module) DO UPDATE SET events = $2, head = $3",
            module,
            count,
            head,
        )
