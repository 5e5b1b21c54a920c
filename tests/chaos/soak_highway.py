"""What a COS under a long steady load subscribes to: each way of reading once."""

from __future__ import annotations

from typing import Any

import asyncpg

from cos.memory.delivery import Event
from cos.memory.highway import Highway

highway = Highway()


@highway.subscriber(group="one", types=["soak"])
async def one(event: Event[Any]) -> None:
    """Take each event by itself; one in a thousand needs a second attempt."""
    if event.data["n"] % 1000 == 999 and event.attempt == 1:
        raise RuntimeError("not at the first attempt")


@highway.subscriber(group="many", types=["soak"], batch=100)
async def many(events: list[Event[Any]]) -> None:
    """Take them in batches."""
    del events


@highway.subscriber(group="ordered", types=["soak"], ordered=True, concurrency=4)
async def ordered(event: Event[Any]) -> None:
    """Take those of one subject one after the other."""
    del event


@highway.projection(
    name="tally",
    types=["soak"],
    batch=200,
    setup="CREATE TABLE tally (module text PRIMARY KEY, events bigint NOT NULL)",
)
async def tally(connection: asyncpg.Connection, events: list[Event[Any]]) -> None:
    """Count the events of each module."""
    for event in events:
        await connection.execute(
            "INSERT INTO tally VALUES ($1, 1) ON CONFLICT (module) DO UPDATE SET events = tally.events + 1",
            event.module,
        )
