"""GET /events and GET /events/{id}: filters, pages and what is refused."""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncIterator

import httpx
import pytest

from cos.backend.app import create_app, with_edge
from cos.config import load_settings
from cos.runtime.core import Core

COUNT = 60
TYPES = ("chapter.saved", "chapter.read", "chapter%", "chapter_saved", "note")


def sent(number: int) -> dict[str, object]:
    """Give the event with this number: modules, types and subjects in turns, one a minute."""
    return {
        "type": TYPES[number % 5].replace("%", "/percent"),
        "module": ("editor", "agent", "cc")[number % 3],
        "subject": None if number % 4 == 0 else f"ch{number % 4:02}",
        "time": f"2026-01-31T12:{number:02}:00Z",
        "data": number,
    }


@pytest.fixture(scope="module")
async def log(servers, tmp_path_factory) -> AsyncIterator[httpx.AsyncClient]:
    """An API over a log of 60 events, in transactions of 1 to 9 events; written once, only read."""
    connection_settings = {"database_url": servers.postgres.url, "redis_url": servers.redis.url}
    settings = load_settings(data_dir=tmp_path_factory.mktemp("log"))
    async with Core(settings=settings, **connection_settings, worker=False) as core:
        async with core.engine.begin() as connection:
            await connection.exec_driver_sql("TRUNCATE l1.record, l1.prompt_trace")
        transport = httpx.ASGITransport(
            app=with_edge(create_app(core.services())), raise_app_exceptions=False
        )
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000") as client:
            number, size = 0, 1
            while number < COUNT:
                batch = [sent(n) for n in range(number, min(number + size, COUNT))]
                assert (await client.post("/events", json=batch)).status_code == 201
                number, size = number + size, size % 9 + 1
            yield client


async def listed(log: httpx.AsyncClient, **params: object) -> list[int]:
    answer = await log.get("/events", params={"limit": 1000, **params})
    assert answer.status_code == 200, answer.text
    assert answer.json()["next"] is None
    return [event["data"] for event in answer.json()["events"]]


class TestFilters:
    """Each filter alone, and together."""

    @pytest.mark.parametrize(
        ("params", "wanted"),
        [
            ({}, lambda _: True),
            ({"module": "agent"}, lambda e: e["module"] == "agent"),
            ({"module": "nobody"}, lambda _: False),
            ({"type": "note"}, lambda e: e["type"] == "note"),
            ({"type": "not"}, lambda _: False),
            ({"type": "chapter*"}, lambda e: e["type"].startswith("chapter")),
            ({"type": "chapter_*"}, lambda e: e["type"].startswith("chapter_")),
            ({"type": "chapter%*"}, lambda _: False),
            ({"type": "*"}, lambda _: True),
            ({"subject": "ch02"}, lambda e: e["subject"] == "ch02"),
            ({"since": "2026-01-31T12:10:00Z"}, lambda e: e["data"] >= 10),
            ({"since": "2026-01-31T14:10:00+02:00"}, lambda e: e["data"] >= 10),
            ({"until": "2026-01-31T12:10:00Z"}, lambda e: e["data"] < 10),
            (
                {"since": "2026-01-31T12:10:00Z", "until": "2026-01-31T12:12:30Z"},
                lambda e: 10 <= e["data"] <= 12,
            ),
            ({"module": "cc", "type": "chapter*", "subject": "ch03"}, None),
            ({"settled": "true"}, lambda _: True),
        ],
    )
    async def test_what_is_listed(self, log, params, wanted) -> None:
        """Exactly the events that match, in the log's order."""

        def all_three(event):
            return (event["module"], event["subject"]) == ("cc", "ch03") and event["type"].startswith(
                "chapter"
            )

        events = [sent(n) for n in range(COUNT)]
        assert await listed(log, **params) == [e["data"] for e in events if (wanted or all_three)(e)]


class TestPages:
    """Pages by position."""

    @pytest.mark.parametrize("limit", [1, 7, 59, 60, 61])
    @pytest.mark.parametrize(("order", "onward"), [("asc", "after"), ("desc", "before")])
    @pytest.mark.parametrize("filters", [{}, {"module": "editor", "type": "chapter*"}])
    async def test_each_event_once_to_the_end(self, log, limit, order, onward, filters) -> None:
        """Following `next` shows each event exactly once, in order; only the last page has none."""
        wanted = await listed(log, order=order, **filters)
        seen: list[int] = []
        params = {"order": order, "limit": limit, **filters}
        for _ in range(COUNT + 1):
            page = (await log.get("/events", params=params)).json()
            seen += [event["data"] for event in page["events"]]
            if page["next"] is None:
                break
            assert len(page["events"]) == limit
            assert page["next"] == page["events"][-1]["position"]
            params[onward] = page["next"]
        assert seen == wanted
        assert wanted == sorted(wanted, reverse=order == "desc")

    async def test_between_two_positions(self, log) -> None:
        """`after` and `before` leave out the events at their positions, whatever the order."""
        places = [
            event["position"] for event in (await log.get("/events", params={"limit": 1000})).json()["events"]
        ]
        assert await listed(log, after=places[9], before=places[13]) == [10, 11, 12]
        assert await listed(log, after=places[9], before=places[13], order="desc") == [12, 11, 10]
        assert await listed(log, after=places[-1]) == []
        assert await listed(log, after="0-0") == list(range(COUNT))
        assert await listed(log, after="18446744073709551615-9223372036854775807") == []

    async def test_the_default_page(self, log) -> None:
        """Oldest first, at most a hundred."""
        page = (await log.get("/events")).json()
        assert set(page) == {"events", "next"}
        assert [event["data"] for event in page["events"]] == list(range(COUNT))


class TestRefusals:
    """What a query may not be."""

    @pytest.mark.parametrize(
        ("query", "said"),
        [
            ("after=1", "'1' is not a position"),
            ("after=", "not a position"),
            ("before=a-b", "'a-b'"),
            ("after=18446744073709551616-0", "not a position"),
            ("after=0-9223372036854775808", "not a position"),
            ("after=-1-1", "not a position"),
            ("limit=0", "limit"),
            ("limit=1001", "limit"),
            ("limit=many", "limit"),
            ("limit=99999999999999999999", "limit"),
            ("order=sideways", "order"),
            ("settled=perhaps", "settled"),
            ("since=2026-01-31T12:00:00", "no timezone"),
            ("until=soon", "until"),
            ("since=0001-01-01T00:00:00%2B14:00", "outside the years"),
            ("module=%00", "NUL"),
            ("type=a%00*", "NUL"),
            ("subject=%00", "NUL"),
        ],
    )
    async def test_a_bad_query(self, steady, problem, query, said) -> None:
        """422 names the parameter or its value."""
        problem(await steady.get(f"/events?{query}"), 422, said)

    async def test_what_no_event_can_be_about(self, steady) -> None:
        """Bytes that are no UTF-8 match nothing, and are no fault."""
        answer = await steady.get("/events?subject=%ed%a0%80%ff")
        assert (answer.status_code, answer.json()) == (200, {"events": [], "next": None})


class TestOne:
    """GET /events/{id}."""

    async def test_unknown_and_malformed(self, steady, problem) -> None:
        """404 names the id; 422 for what is no id."""
        nobody = str(uuid.uuid4())
        problem(await steady.get(f"/events/{nobody}"), 404, nobody)
        problem(await steady.get("/events/first"), 422, "event_id")
        problem(await steady.get("/events/%00"), 422, "event_id")

    async def test_it_is_what_the_list_shows(self, log) -> None:
        """One event and the same event in the list are the same document."""
        for event in (await log.get("/events", params={"limit": 5})).json()["events"]:
            answer = await log.get(f"/events/{event['id']}")
            assert json.loads(answer.content) == event

    async def test_what_has_no_value_is_left_out_with_a_prompt_as_without(self, client) -> None:
        """One with a prompt trace once had null for each, which its document rules out for the subject."""
        shapes = []
        for prompt in ({}, {"prompt": {"tokens_out": 0}}):
            receipt = await client.post("/events", json={"type": "a", "data": None} | prompt)
            found = (await client.get(f"/events/{receipt.json()['id']}")).json()
            shapes.append(set(found) - {"prompt"})
        assert shapes[0] == shapes[1]
        assert "subject" not in shapes[0]
        assert "data" in shapes[0]
