"""Subscribers on real servers: each event at least once, whoever dies, and whatever Redis forgets."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any

import asyncpg
import msgspec
import pydantic
import pytest
from sqlalchemy.ext.asyncio import AsyncSession

from cos.backend.cc.logging import log_l1
from cos.memory.delivery import Event
from cos.memory.event import NewEvent, new_event
from cos.memory.highway import Highway
from cos.runtime.consumers import Consumers
from cos.runtime.core import Core

QUICK: dict[str, Any] = {"first_retry_seconds": 0.01, "last_retry_seconds": 0.05, "claim_seconds": 0.6}


def event(n: int = 0, **more: Any) -> NewEvent:
    return new_event(**{"type": "step", "module": "cc", "data": {"n": n}} | more)


class Step(msgspec.Struct):
    n: int


class Model(pydantic.BaseModel):
    n: int


class Seen:
    """A highway with one group that notes what its handler got, and does what the test says."""

    def __init__(self, **more: Any) -> None:
        self.highway = Highway()
        self.numbers: list[int] = []
        self.attempts: list[int] = []
        self.act: Callable[[int], Any] = lambda n: None
        self.highway.subscriber(**{"group": "g", **QUICK, **more})(self.handle)

    async def handle(self, one: Event[Step]) -> None:
        self.attempts.append(one.attempt)
        found = self.act(one.data.n)
        if asyncio.iscoroutine(found):
            await found
        self.numbers.append(one.data.n)

    def has(self, *numbers: int) -> Callable[[], Any]:
        async def check() -> bool:
            return set(numbers) <= set(self.numbers)

        return check


@pytest.fixture
def run(core: Core) -> Callable[..., Consumers]:
    """Make consumers of a highway; each has a consumer name of its own, as a process has."""

    def make(*highways: Highway) -> Consumers:
        return Consumers(
            highways=highways,
            database_url=core.database_url,
            redis_url=core.redis_url,
            sessions=core.sessions,
        )

    return make


async def letters(pg: asyncpg.Connection) -> list[asyncpg.Record]:
    return await pg.fetch("SELECT * FROM highway.dead_letter ORDER BY id")


async def pending(core: Core, group: str = "g", module: str = "cc") -> int:
    number = await core.streams.generation()
    found = await core.redis.xpending(core.streams.key(module, number), group)
    return found["pending"]


class TestReading:
    async def test_each_event_of_every_module_also_of_one_that_comes_later(
        self, core: Core, run, eventually
    ) -> None:
        seen = Seen()
        await core.recorder.record_many([event(n, module=f"m{n % 3}") for n in range(30)])
        async with run(seen.highway):
            await eventually(seen.has(*range(30)))
            await core.recorder.record_many([event(n, module="later") for n in range(30, 40)])
            await eventually(seen.has(*range(40)))
        assert sorted(seen.numbers) == list(range(40))

    async def test_what_was_handled_is_not_handled_again_after_a_restart(
        self, core: Core, run, eventually
    ) -> None:
        seen = Seen()
        await core.recorder.record_many([event(n) for n in range(5)])
        async with run(seen.highway):
            await eventually(seen.has(*range(5)))
        assert await pending(core) == 0
        await core.recorder.record(event(5))
        async with run(seen.highway):
            await eventually(seen.has(5))
        assert seen.numbers == [0, 1, 2, 3, 4, 5]

    async def test_only_the_modules_and_types_that_it_asks_for(self, core: Core, run, eventually) -> None:
        seen = Seen(modules=["a"], types=["one", "two.*"])
        for n, (module, kind) in enumerate(
            [("a", "one"), ("b", "one"), ("a", "two.x"), ("a", "one.x"), ("a", "three"), ("a", "one")]
        ):
            await core.recorder.record(event(n, module=module, type=kind))
        async with run(seen.highway):
            await eventually(seen.has(5))
        assert seen.numbers == [0, 2, 5]

    async def test_a_group_that_begins_with_the_newest(self, core: Core, run, eventually, stream_of) -> None:
        seen = Seen(begin="newest")
        await core.recorder.record_many([event(n) for n in range(3)])
        await eventually(lambda: stream_of("cc"))
        async with run(seen.highway) as consumers:

            async def registered() -> bool:
                return bool(consumers.subscribers["g"].keeper.streams)

            await eventually(registered)
            await core.recorder.record_many([event(3), event(4, module="new")])
            await eventually(seen.has(3, 4))
        assert sorted(seen.numbers) == [3, 4]

    async def test_several_processes_share_the_work(self, core: Core, run, eventually) -> None:
        first, second = Seen(), Seen()
        await core.recorder.record_many([event(n) for n in range(2000)])
        first.act = second.act = lambda n: asyncio.sleep(0)
        async with run(first.highway), run(second.highway):

            async def all_seen() -> bool:
                return len(first.numbers) + len(second.numbers) >= 2000

            await eventually(all_seen)
        assert first.numbers
        assert second.numbers
        assert sorted(first.numbers + second.numbers) == list(range(2000))


class TestShapes:
    async def test_lists_models_and_sessions(self, core: Core, run, eventually, pg) -> None:
        """What a handler asks for in its annotations is what it is given; its transaction commits with its return."""
        highway = Highway()
        batches: list[list[int]] = []
        models: list[int] = []

        @highway.subscriber(group="batches", modules=["cc"], batch=10)
        async def many(steps: list[Step]) -> None:
            batches.append([one.n for one in steps])

        @highway.subscriber(group="class", modules=["cc"])
        class Consumer:
            async def handle(self, model: Model, event: Event, db: AsyncSession) -> None:
                models.append(model.n)
                await log_l1(db, "echo", {"of": str(event.position)}, module="echo")

        await core.recorder.record_many([event(n, request_id="r1") for n in range(25)])
        async with run(highway):

            async def done() -> bool:
                return sum(map(len, batches)) == 25 and len(models) == 25

            await eventually(done)
        assert [n for batch in batches for n in batch] == list(range(25)) == models
        assert max(map(len, batches)) == 10
        echoes = await pg.fetch("SELECT request_id FROM l1.record WHERE module = 'echo'")
        assert [row["request_id"] for row in echoes] == ["r1"] * 25


class TestFailing:
    async def test_it_is_tried_again_and_then_a_dead_letter(self, core: Core, run, eventually, pg) -> None:
        seen = Seen(attempts=3)

        def act(n: int) -> None:
            if n == 1:
                raise ValueError("no such chapter")

        seen.act = act
        await core.recorder.record_many([event(n) for n in range(3)])
        async with run(seen.highway):
            await eventually(seen.has(0, 2))
            [letter] = await eventually(lambda: letters(pg))
        assert seen.numbers == [0, 2]
        assert sorted(seen.attempts) == [1, 1, 1, 2, 3]
        assert (letter["group_name"], letter["module"], letter["attempts"]) == ("g", "cc", 3)
        assert letter["error"] == "ValueError: no such chapter"
        assert "in act" in letter["traceback"]
        assert msgspec.json.decode(letter["event"])["data"] == {"n": 1}
        assert await pending(core) == 0

    async def test_data_that_does_not_fit_is_a_dead_letter_at_once(
        self, core: Core, run, eventually, pg
    ) -> None:
        seen = Seen()
        await core.recorder.record_many([event(0), event(data={"n": "x"}), event(data=[1]), event(3)])
        async with run(seen.highway):
            await eventually(seen.has(0, 3))

            async def both() -> bool:
                return len(await letters(pg)) == 2

            await eventually(both)
        assert seen.attempts == [1, 1]
        assert {row["attempts"] for row in await letters(pg)} == {1}

    async def test_an_entry_that_is_no_event_is_a_dead_letter(self, core: Core, run, eventually, pg) -> None:
        seen = Seen()
        await core.recorder.record(event(0))
        async with run(seen.highway):
            await eventually(seen.has(0))
            number = await core.streams.generation()
            await core.redis.xadd(core.streams.key("cc", number), {"event": b"\xff no event \x00"})
            [letter] = await eventually(lambda: letters(pg))
        assert "no event" in letter["event"]

    async def test_one_that_takes_too_long(self, core: Core, run, eventually, pg) -> None:
        seen = Seen(deadline_seconds=0.05, attempts=2)
        seen.act = lambda n: asyncio.Event().wait() if n == 0 else None
        await core.recorder.record_many([event(n) for n in range(2)])
        async with run(seen.highway):
            [letter] = await eventually(lambda: letters(pg))
        assert letter["error"] == "Late: It did not end within 0.05 s."
        assert seen.numbers == [1]

    async def test_a_batch_that_fails_is_tried_again_one_by_one(
        self, core: Core, run, eventually, pg
    ) -> None:
        highway = Highway()
        alone: Counter[int] = Counter()

        @highway.subscriber(group="g", **QUICK, attempts=3)
        async def many(steps: list[Step]) -> None:
            if any(one.n == 3 for one in steps):
                raise ValueError("three")
            alone.update(one.n for one in steps)

        await core.recorder.record_many([event(n) for n in range(6)])
        async with run(highway):
            [letter] = await eventually(lambda: letters(pg))

            async def others() -> bool:
                return set(alone) == {0, 1, 2, 4, 5}

            await eventually(others)
        assert letter["attempts"] == 3
        assert set(alone.values()) == {1}


class TestOrder:
    async def test_of_one_subject_although_one_fails_and_several_processes_run(
        self, core: Core, run, eventually
    ) -> None:
        """While the first of a subject is tried again, the later ones of that subject wait; other subjects go on."""
        order: dict[str, list[int]] = {"a": [], "b": []}
        failed: set[int] = set()

        def made() -> Highway:
            highway = Highway()

            @highway.subscriber(group="g", ordered=True, concurrency=4, **QUICK)
            async def handle(one: Event[Step]) -> None:
                if one.data.n % 5 == 0 and one.data.n not in failed:
                    failed.add(one.data.n)
                    raise ValueError("once")
                order[one.subject or ""].append(one.data.n)

            return highway

        await core.recorder.record_many([event(n, subject="ab"[n % 2]) for n in range(100)])
        async with run(made()), run(made()):

            async def done() -> bool:
                return sum(map(len, order.values())) >= 100

            await eventually(done)
        assert order == {"a": list(range(0, 100, 2)), "b": list(range(1, 100, 2))}


class TestStopping:
    async def test_what_is_under_way_is_finished_and_the_rest_given_back(
        self, core: Core, run, eventually
    ) -> None:
        first, second = Seen(drain_seconds=5), Seen()
        begun, end = asyncio.Event(), asyncio.Event()

        async def act(n: int) -> None:
            begun.set()
            await end.wait()

        first.act = act
        await core.recorder.record_many([event(n) for n in range(10)])
        async with asyncio.timeout(20):
            consumers = run(first.highway)
            async with consumers:
                await begun.wait()
                asyncio.get_running_loop().call_later(0.05, end.set)
        assert first.numbers == [0]
        assert await pending(core) == 9
        async with run(second.highway):
            await eventually(second.has(*range(1, 10)))
        assert sorted(second.numbers) == list(range(1, 10))
        assert set(second.attempts) == {1}
