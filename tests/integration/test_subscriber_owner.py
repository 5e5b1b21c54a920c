"""Who may read a stream of an ordered group: the owner of now alone, whatever another one still believes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import pytest

from cos.common.subscriber_group import PRELUDE, Group, Owned
from cos.common.subscriber_policy import Stream
from cos.common.wire import Wire
from cos.runtime.core import Core

STREAM = Stream(key="owned:stream", refill="owned:refill", owner="owned:owner")
LEASE_SECONDS = 1000.0
OURS, ANOTHERS, FORGOTTEN = Owned([STREAM], [], {}), Owned([], [], {}), Owned([], [STREAM], {})


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


async def own(group: Group, mark: bytes | None = None, *, lease_seconds: float = LEASE_SECONDS) -> Owned:
    return await group.own(
        [STREAM], lease_seconds=lease_seconds, marks={} if mark is None else {STREAM: mark}
    )


async def create(group: Group, *, was_there: bool, lease_seconds: float = LEASE_SECONDS) -> None:
    await group.create_ordered(STREAM, "1-0", was_there=was_there, lease_seconds=lease_seconds)


async def mark_of(group: Group) -> bytes:
    """Ask, and be told that nobody may have the stream yet."""
    told = await own(group)
    assert (told.ours, told.forgotten) == ([], [])
    return told.marks[STREAM]


@pytest.fixture
async def pair(core: Core, reader) -> tuple[Group, Group]:
    """Two consumers; the first has the stream and was handed the first two of six entries."""
    first, second = reader("first"), reader("second")
    for n in range(6):
        await core.redis.xadd(STREAM.key, {"event": str(n)}, id=f"1-{n + 1}")
    await create(first, was_there=False)
    assert await own(first) == OURS
    assert await own(second) == ANOTHERS
    assert await read(first) == [b"0", b"1"]
    return first, second


async def test_who_does_not_have_it_is_handed_nothing(pair) -> None:
    first, second = pair
    assert await read(second) == []
    assert await read(first) == [b"2", b"3"]


async def test_who_lets_go_of_it_frees_it_at_once(pair) -> None:
    first, second = pair
    await second.disown([STREAM])
    assert await own(second) == ANOTHERS
    await first.disown([STREAM])
    assert await own(second) == OURS
    assert await own(first) == ANOTHERS


async def test_a_lease_that_is_not_renewed_lapses(pair, eventually) -> None:
    first, second = pair
    assert await own(first, lease_seconds=0.05) == OURS

    async def taken() -> bool:
        return await own(second) == OURS

    await eventually(taken)
    assert await own(first) == ANOTHERS
    assert await read(first) == []
    assert await read(second) == [b"2", b"3"]


class TestForgetting:
    """Redis has lost what it knew, wholly or in part, while the first consumer may be at work."""

    async def test_nobody_has_what_redis_has_forgotten(self, core, pair) -> None:
        first, second = pair
        await core.redis.delete(STREAM.owner)
        assert await own(first) == FORGOTTEN
        assert await own(second) == FORGOTTEN
        assert await read(first) == []

    async def test_who_lost_only_the_owner_waits_for_a_lease(self, core, pair, eventually) -> None:
        """The group itself is there: beginning it changes nothing but that nobody has it for the time of a lease."""
        first, second = pair
        await core.redis.delete(STREAM.owner)
        await create(second, was_there=False, lease_seconds=0.2)
        await mark_of(second)
        assert await read(first) == []

        async def taken() -> bool:
            return await own(second) == OURS

        await eventually(taken)
        assert await read(first) == []
        assert await read(second) == [b"2", b"3"]

    async def test_who_had_it_at_the_new_beginning_has_it_at_once(self, core, pair) -> None:
        first, second = pair
        await core.redis.flushall()
        await create(second, was_there=True)
        mark = await mark_of(first)
        assert await mark_of(second) == mark
        assert await own(first, mark) == OURS
        assert await own(second, mark) == ANOTHERS

    async def test_the_mark_of_an_earlier_beginning_opens_nothing(self, core, pair) -> None:
        first, _ = pair
        await core.redis.flushall()
        await create(first, was_there=True)
        mark = await mark_of(first)
        await core.redis.flushall()
        await create(first, was_there=True)
        assert (await own(first, mark)).marks.keys() == {STREAM}

    async def test_a_group_that_lost_its_place_alone_is_nobodys_either(self, core, pair) -> None:
        """What the owner holds is handed out again from the place that Postgres keeps, also to itself."""
        first, second = pair
        await core.redis.delete(STREAM.key)
        await create(second, was_there=True)
        mark = await mark_of(second)
        assert await read(first) == []
        assert await own(first, mark) == OURS

    async def test_a_second_beginning_leaves_the_owner_alone(self, pair) -> None:
        first, second = pair
        await create(second, was_there=True)
        assert await own(second) == ANOTHERS
        assert await read(first) == [b"2", b"3"]


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
