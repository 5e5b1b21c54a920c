"""Groups, projections and dead letters over HTTP, over a highway that runs."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import asyncpg
import httpx
import msgspec
import pytest

from cos.memory.delivery import Event
from cos.memory.event import new_event
from cos.memory.highway import Highway
from cos.runtime.consumers import Consumers
from cos.runtime.core import Core


class Step(msgspec.Struct):
    n: int


class Switch:
    """What the handlers do: they fail for these numbers."""

    def __init__(self) -> None:
        self.bad: set[int] = set()
        self.seen: list[int] = []

    def pull(self, n: int) -> None:
        if n in self.bad:
            raise ValueError(f"number {n}")
        self.seen.append(n)


@pytest.fixture
def switch() -> Switch:
    return Switch()


@pytest.fixture
async def consumers(core: Core, pg: asyncpg.Connection, switch: Switch) -> AsyncIterator[Consumers]:
    """A group and a projection that fail when the switch says so."""
    for slot in ("", "__next", "__old"):
        statement = f"DROP SCHEMA IF EXISTS projection_steps{slot} CASCADE"
        await pg.execute(statement)  # house: sql (the names are ours)
    highway = Highway()

    @highway.subscriber(group="steps", attempts=1)
    async def handle(one: Event[Step]) -> None:
        switch.pull(one.data.n)

    @highway.projection(name="steps", setup="CREATE TABLE step (n int)", types=["step"], attempts=1)
    async def apply(connection: asyncpg.Connection, events: list[Event[Step]]) -> None:
        await connection.executemany("INSERT INTO step VALUES ($1)", [(one.data.n,) for one in events])

    running = Consumers(
        highways=[highway], database_url=core.database_url, redis_url=core.redis_url, sessions=core.sessions
    )
    async with running:
        yield running


@pytest.fixture
def steps(core: Core) -> Callable[..., Any]:
    async def record(*numbers: int) -> None:
        await core.recorder.record_many(
            [new_event(type="step", module="m", data={"n": n}, subject=f"s{n}") for n in numbers]
        )

    return record


@pytest.fixture
def buried(client: httpx.AsyncClient, eventually) -> Callable[..., Any]:
    """Wait until so many letters are in a state, and give them, newest first."""

    async def wait(count: int, state: str = "dead") -> list[dict[str, Any]]:
        async def there() -> list[dict[str, Any]]:
            found = (await client.get("/cc/dead-letters", params={"state": state})).json()["letters"]
            return found if len(found) == count else []

        found: list[dict[str, Any]] = await eventually(there)
        return found

    return wait


async def acts(pg: asyncpg.Connection) -> list[str]:
    rows = await pg.fetch("SELECT type FROM l1.record WHERE module = 'cc' ORDER BY xact, seq")
    return [row["type"] for row in rows]


@pytest.mark.usefixtures("consumers")
class TestDeadLetters:
    async def test_listed_by_pages_and_filters_and_shown_whole(self, client, steps, buried, switch) -> None:
        switch.bad = set(range(5))
        await steps(*range(6))
        found = await buried(5)
        page = (await client.get("/cc/dead-letters", params={"limit": 3})).json()
        rest = (await client.get("/cc/dead-letters", params={"limit": 3, "before": page["next"]})).json()
        assert page["letters"] + rest["letters"] == found
        assert rest["next"] is None
        one = (await client.get("/cc/dead-letters", params={"subject": "s2", "type": "st*"})).json()[
            "letters"
        ]
        whole = (await client.get(f"/cc/dead-letters/{one[0]['id']}")).json()
        assert whole["event"]["data"] == {"n": 2}
        assert whole["error"] == "ValueError: number 2"
        assert "in pull" in whole["traceback"]
        assert (await client.get("/cc/dead-letters", params={"group": "other"})).json()["letters"] == []

    async def test_requeued_once_is_delivered_once_more(self, client, steps, buried, switch, pg) -> None:
        """To its group alone: the stream holds nothing new; a letter that fails again is dead again."""
        switch.bad = {1, 2}
        await steps(1, 2)
        second, first = await buried(2)
        switch.bad = {2}
        for letter in (first, second):
            assert (await client.post(f"/cc/dead-letters/{letter['id']}/requeue")).status_code == 200
        await buried(1, "delivered")
        [again] = await buried(1)
        assert (again["id"], again["attempts"], again["deliveries"]) == (second["id"], 2, 1)
        assert switch.seen == [1]
        refused = await client.post(f"/cc/dead-letters/{first['id']}/requeue")
        assert refused.status_code == 409
        assert "is delivered" in refused.json()["detail"]
        assert await acts(pg) == ["dead_letter.requeued"] * 2

    async def test_by_a_filter_or_all_but_never_by_chance(self, client, steps, buried, switch, pg) -> None:
        switch.bad = {1, 2, 3}
        await steps(1, 2, 3)
        await buried(3)
        for answer in (
            await client.post("/cc/dead-letters/requeue", json={}),
            await client.delete("/cc/dead-letters"),
        ):
            assert answer.status_code == 422
            assert '"all": true' in answer.json()["detail"]
        switch.bad = set()
        assert (await client.post("/cc/dead-letters/requeue", json={"subject": "s1"})).json() == {"count": 1}
        await buried(1, "delivered")
        assert (await client.delete("/cc/dead-letters", params={"state": "delivered"})).json() == {"count": 1}
        assert (await client.post("/cc/dead-letters/requeue", json={"all": True})).json() == {"count": 2}
        found = await buried(2, "delivered")
        assert (await client.delete(f"/cc/dead-letters/{found[0]['id']}")).json()["id"] == found[0]["id"]
        assert (await client.get(f"/cc/dead-letters/{found[0]['id']}")).status_code == 404
        assert await acts(pg) == [
            "dead_letters.requeued",
            "dead_letters.dropped",
            "dead_letters.requeued",
            "dead_letter.dropped",
        ]
        assert switch.seen == [1, 2, 3]

    async def test_health_tells_of_them(self, client, steps, buried, switch) -> None:
        assert (await client.get("/cc/health/enhanced")).json()["dlq_metrics"] == []
        switch.bad = {1, 2}
        await steps(1, 2)
        found = await buried(2)
        [told] = (await client.get("/cc/health/enhanced")).json()["dlq_metrics"]
        assert (told["size"], told["channel"]) == (2, "steps")
        assert told["oldest_message_time"] == found[1]["first_failed_at"]


class TestGroups:
    async def test_how_far_each_is(self, client, steps, consumers, switch, eventually) -> None:
        await steps(1, 2, 3)

        async def done() -> dict[str, Any]:
            [group] = (await client.get("/cc/groups")).json()
            return group if group["modules"] and group["lag_events"] == 0 and switch.seen else {}

        group = await eventually(done)
        [module] = group["modules"]
        assert (group["name"], group["consumers"], module["module"], module["pending"]) == (
            "steps",
            1,
            "m",
            0,
        )
        assert (await client.get("/cc/groups/steps")).json()["modules"] == group["modules"]
        assert (await client.get("/cc/groups/none")).status_code == 404

    async def test_one_that_runs_cannot_be_forgotten_and_another_can(
        self, client, steps, consumers, switch, eventually
    ) -> None:
        await steps(1)

        async def seen() -> bool:
            return switch.seen == [1]

        await eventually(seen)
        assert (await client.delete("/cc/groups/steps")).status_code == 409
        await consumers.__aexit__(None, None, None)
        assert (await client.delete("/cc/groups/steps")).status_code == 200
        assert (await client.get("/cc/groups")).json() == []


@pytest.mark.usefixtures("consumers")
class TestProjections:
    async def test_paused_resumed_and_rebuilt(self, client, steps, eventually, pg) -> None:
        await steps(1, 2)

        def at(**wanted: Any) -> Callable[[], Any]:
            async def check() -> bool:
                found = (await client.get("/cc/projections/steps")).json()
                live = found.get("live") or {}
                return found.get("building") is None and all(live.get(k) == v for k, v in wanted.items())

            return check

        await eventually(at(events=2))
        assert (await client.post("/cc/projections/steps/pause")).json()["live"]["state"] == "paused"
        assert (await client.post("/cc/projections/steps/pause")).status_code == 409
        await steps(3)
        assert (await client.post("/cc/projections/steps/resume")).json()["live"]["state"] == "running"
        await eventually(at(events=3))
        await pg.execute("INSERT INTO projection_steps.step VALUES (99)")
        assert (await client.post("/cc/projections/steps/rebuild")).json()["building"]["position"] == "0-0"

        async def rebuilt() -> bool:
            rows = await pg.fetch("SELECT n FROM projection_steps.step ORDER BY n")
            return [row["n"] for row in rows] == [1, 2, 3]

        await eventually(rebuilt)
        assert (await client.post("/cc/projections/none/rebuild")).status_code == 404
        assert await acts(pg) == ["projection.paused", "projection.resumed", "projection.rebuilding"]
