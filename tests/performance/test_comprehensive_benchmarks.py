"""What the API's routes cost, as a multiple of a bare route measured in the same moment; never in milliseconds."""

from __future__ import annotations

import itertools

import httpx

from cos.memory.event import new_event

#: A bare route makes one query; a module route a handful, with an event, in one transaction. What these catch is a
#: route that went wrong by its nature: a query a row, a connection a call, a wait for a timer.
MOST_FOR_A_READ = 6.0
MOST_FOR_A_WRITE = 20.0


class TestAPIEndpointBenchmarks:
    """The control centre's routes on a real server, a real Postgres and a real Redis."""

    async def test_cc_module_endpoints_latency(self, served: httpx.AsyncClient, ratio_to) -> None:
        """Create, get, list, change and delete a module each stay within a small multiple of one query."""
        numbers = itertools.count()

        async def floor() -> None:
            assert (await served.get("/floor")).status_code == 200

        async def create() -> str:
            answer = await served.post("/cc/modules", json={"name": f"bench-{next(numbers)}", "version": "1"})
            assert answer.status_code == 201
            return answer.json()["id"]

        kept = await create()

        async def get() -> None:
            assert (await served.get(f"/cc/modules/{kept}")).json()["id"] == kept

        async def listing() -> None:
            assert len((await served.get("/cc/modules", params={"limit": 10})).json()) <= 10

        async def change() -> None:
            answer = await served.patch(f"/cc/modules/{kept}", json={"version": f"1.{next(numbers)}"})
            assert answer.status_code == 200

        async def create_and_delete() -> None:
            assert (await served.delete(f"/cc/modules/{await create()}")).status_code == 200

        reads = {"get": await ratio_to(get, floor), "list": await ratio_to(listing, floor)}
        writes = {
            "create": await ratio_to(create, floor),
            "change": await ratio_to(change, floor),
            "create and delete": await ratio_to(create_and_delete, floor),
        }
        assert all(ratio < MOST_FOR_A_READ for ratio in reads.values()), reads
        assert all(ratio < MOST_FOR_A_WRITE for ratio in writes.values()), writes

    async def test_a_page_deep_in_the_log_costs_what_the_first_one_does(
        self, served: httpx.AsyncClient, core, ratio_to
    ) -> None:
        """Pages go by position, not by offset: the last page of 20,000 events is as cheap as the first."""
        for _ in range(20):
            done = await core.recorder.record_many(
                [new_event(type="bench.page", module="bench", data={"n": n}) for n in range(1000)]
            )
        deep = str(done[-51].position)

        async def last_page() -> None:
            assert (
                len((await served.get("/events", params={"after": deep, "limit": 50})).json()["events"]) == 50
            )

        async def first_page() -> None:
            assert len((await served.get("/events", params={"limit": 50})).json()["events"]) == 50

        assert await ratio_to(last_page, first_page) < 3.0
