"""The lease of an ordered group's consumer: it ends by its own clock, and a mark is kept only by who had the stream."""

from __future__ import annotations

import pytest

from cos.common import clock
from cos.common.subscriber_group import Owned
from cos.common.subscriber_lease import SHARE, Lease
from cos.common.subscriber_policy import Stream

STREAM = Stream(key="s", refill="r", owner="o")
MARK, OTHER = b"-1", b"-2"
OURS, FORGOTTEN, ANOTHERS = Owned([STREAM], [], {}), Owned([], [STREAM], {}), Owned([], [], {})


def marked(mark: bytes) -> Owned:
    return Owned([], [], {STREAM: mark})


@pytest.fixture
async def lease():
    made = Lease(seconds=1000.0, lapsed=lambda: None)
    yield made
    made.close()


async def test_it_begins_invalid_and_lasts_for_a_part_of_what_redis_gives(lease) -> None:
    assert not lease.is_valid()
    lease.answered(OURS, [STREAM], asked_at=clock.monotonic())
    assert lease.is_valid()
    lease.answered(OURS, [STREAM], asked_at=clock.monotonic() - 1000.0 * SHARE)
    assert not lease.is_valid()


async def test_a_group_without_order_needs_none() -> None:
    assert Lease(seconds=None, lapsed=lambda: None).is_valid()


async def test_it_tells_once_it_has_lapsed(eventually) -> None:
    told: list[bool] = []
    lease = Lease(seconds=0.03, lapsed=lambda: told.append(lease.is_valid()))
    lease.answered(OURS, [STREAM], asked_at=clock.monotonic())

    async def was_told() -> bool:
        return told == [False]

    await eventually(was_told)


class TestMarks:
    async def test_who_had_the_stream_keeps_the_mark_also_after_it_was_forgotten(self, lease) -> None:
        lease.answered(OURS, [STREAM], asked_at=clock.monotonic())
        lease.answered(FORGOTTEN, [STREAM], asked_at=clock.monotonic())
        lease.answered(marked(MARK), [STREAM], asked_at=clock.monotonic())
        assert lease.marks == {STREAM: MARK}
        lease.answered(marked(MARK), [STREAM], asked_at=clock.monotonic())
        assert lease.marks == {STREAM: MARK}

    async def test_who_did_not_ask_for_a_while_keeps_it_too(self, lease) -> None:
        """What was begun before has yet to end."""
        lease.answered(OURS, [STREAM], asked_at=clock.monotonic())
        lease.answered(FORGOTTEN, [STREAM], asked_at=clock.monotonic())
        lease.answered(ANOTHERS, [], asked_at=clock.monotonic())
        lease.answered(marked(MARK), [STREAM], asked_at=clock.monotonic())
        lease.answered(ANOTHERS, [], asked_at=clock.monotonic())
        assert lease.marks == {STREAM: MARK}

    async def test_who_did_not_have_it_keeps_none(self, lease) -> None:
        lease.answered(marked(MARK), [STREAM], asked_at=clock.monotonic())
        assert lease.marks == {}

    async def test_who_has_lost_it_to_another_keeps_none(self, lease) -> None:
        lease.answered(OURS, [STREAM], asked_at=clock.monotonic())
        lease.answered(ANOTHERS, [STREAM], asked_at=clock.monotonic())
        lease.answered(marked(MARK), [STREAM], asked_at=clock.monotonic())
        assert lease.marks == {}

    async def test_whose_lease_had_lapsed_keeps_none(self, lease) -> None:
        lease.answered(OURS, [STREAM], asked_at=clock.monotonic() - 1000.0)
        lease.answered(marked(MARK), [STREAM], asked_at=clock.monotonic())
        assert lease.marks == {}

    async def test_a_later_mark_is_not_that_one(self, lease) -> None:
        lease.answered(OURS, [STREAM], asked_at=clock.monotonic())
        lease.answered(marked(MARK), [STREAM], asked_at=clock.monotonic())
        lease.answered(marked(OTHER), [STREAM], asked_at=clock.monotonic())
        assert lease.marks == {}
