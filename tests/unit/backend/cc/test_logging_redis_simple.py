"""`log_l1` with Redis, simply: recorded, committed, in the stream; and what stands in the way stands in no other's."""

from __future__ import annotations

import pytest

from cos.backend.cc.logging import log_l1
from cos.errors import BadInput


async def test_logged_and_committed_means_in_the_stream(core, stream_of, eventually) -> None:
    async with core.sessions() as db:
        ids = await log_l1(db, "note.made", {"text": "x"})
        await db.commit()
    [(position, event)] = await eventually(lambda: stream_of("cc"))
    assert (position, event["id"]) == (str(ids.position), str(ids.base_log_id))


async def test_several_of_one_transaction_come_together_and_in_order(core, stream_of, eventually) -> None:
    async with core.sessions() as db:
        for n in range(5):
            await log_l1(db, "step", n)
        await db.commit()

    async def five() -> list:
        entries = await stream_of("cc")
        return entries if len(entries) == 5 else []

    assert [event["data"] for _, event in await eventually(five)] == [0, 1, 2, 3, 4]


async def test_nothing_is_announced_that_was_rolled_back(core, stream_of, eventually) -> None:
    async with core.sessions() as db:
        await log_l1(db, "never", 1)
        await db.rollback()
        async with db.begin_nested() as savepoint:
            await log_l1(db, "never", 2)
            await savepoint.rollback()
        await log_l1(db, "kept", 3)
        await db.commit()
    assert [event["type"] for _, event in await eventually(lambda: stream_of("cc"))] == ["kept"]


async def test_an_event_that_cannot_be_recorded_leaves_the_transaction_usable(
    core, stream_of, eventually
) -> None:
    async with core.sessions() as db:
        with pytest.raises(BadInput, match="event type"):
            await log_l1(db, "not a type!", 1)
        await log_l1(db, "good", 2)
        await db.commit()
    assert [event["type"] for _, event in await eventually(lambda: stream_of("cc"))] == ["good"]


async def test_each_module_has_a_stream_of_its_own(core, stream_of, eventually) -> None:
    async with core.sessions() as db:
        await log_l1(db, "a", module="editor")
        await log_l1(db, "b", module="agent")
        await db.commit()
    assert [event["type"] for _, event in await eventually(lambda: stream_of("editor"))] == ["a"]
    assert [event["type"] for _, event in await eventually(lambda: stream_of("agent"))] == ["b"]
