"""Who may read a stream of an ordered group: the owner of now alone, whatever another one still believes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import pytest

from cos.common.subscriber_group import PRELUDE, Group
from cos.common.subscriber_policy import Stream
from cos.common.wire import Wire
from cos.runtime.core import Core

STREAM = Stream(key="owned:stream", refill="owned:refill", owner="owned:owner")
LEASE_SECONDS = 1000.0


@pytest.fixture
async def reader(core: Core) -> AsyncIterator[Callable[[str], Group]]:
    """Make a consumer of the ordered group."""
    wires: list[Wire] = []

    def make(name: str) -> Group:
        wires.append(Wire(redis=core.redis, prelude=PRELUDE))
        return Group(wire=wires[-1], name="g", consumer=name, gaps="owned:gaps", ordered=True)

    yield make
    for wire in wires:
        await wire.close()


async def read(group: Group, *, refill: bool = False) -> list[bytes | None]:
    refills = [STREAM] if refill else []
    _, messages = await group.read([STREAM], [STREAM], refills, count=2, done={})
    return [one.body for one in messages]


@pytest.fixture
async def pair(core: Core, reader) -> tuple[Group, Group]:
    """Two consumers; the first has the stream and was handed the first two of six entries."""
    first, second = reader("first"), reader("second")
    for n in range(6):
        await core.redis.xadd(STREAM.key, {"event": str(n)}, id=f"1-{n + 1}")
    await first.create(STREAM, "1-0")
    assert await first.own([STREAM], lease_seconds=LEASE_SECONDS) == ([STREAM], [STREAM])
    assert await second.own([STREAM], lease_seconds=LEASE_SECONDS) == ([], [])
    assert await read(first) == [b"0", b"1"]
    return first, second


async def test_who_does_not_have_it_is_handed_nothing(pair) -> None:
    first, second = pair
    assert await read(second) == []
    assert await read(first) == [b"2", b"3"]


async def test_who_had_it_is_handed_nothing_between_the_entries_of_who_has_it(core, pair) -> None:
    """As after a freeze, or when Redis has lost who it was."""
    first, second = pair
    await core.redis.delete(STREAM.owner)
    assert await read(first) == []
    assert await second.own([STREAM], lease_seconds=LEASE_SECONDS) == ([STREAM], [STREAM])
    assert await read(first) == []
    assert await read(second) == [b"2", b"3"]
    assert await read(first) == []


async def test_nor_does_it_take_over_what_is_held(core, pair) -> None:
    first, second = pair
    await core.redis.set(STREAM.owner, "second")
    assert [m.body for m in await second.claim(STREAM, STREAM.key, idle_seconds=0, most=10)] == [b"0", b"1"]
    assert await first.claim(STREAM, STREAM.key, idle_seconds=0, most=10) == []
    assert await first.claim(STREAM, STREAM.key, idle_seconds=0, most=10, mine=True) == []


async def test_a_refill_is_read_by_the_owner_alone_too(core, pair) -> None:
    first, second = pair
    await core.redis.xadd(STREAM.refill, {"event": "older"})
    await core.redis.xgroup_create(STREAM.refill, "g", "0")
    assert await read(second, refill=True) == []
    assert await read(first, refill=True) == [b"older", b"2", b"3"]


async def test_a_stream_that_lost_the_group_is_told_and_not_read(core, pair) -> None:
    first, _ = pair
    await core.redis.xgroup_destroy(STREAM.key, "g")
    seen, messages = await first.read([STREAM], [STREAM], [], count=2, done={})
    assert seen.absent == [STREAM]
    assert messages == []
