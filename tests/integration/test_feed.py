"""The live feed: each settled event once and in order, whoever follows, wherever it begins, whatever goes away."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from cos.backend.app import create_app, with_edge
from cos.memory import feed as feeds
from cos.memory.event import new_event
from cos.memory.feed import Feed, TooSlow, Wanted
from cos.memory.position import START, Position
from cos.runtime.server import ApiServer, bind

DEADLINE_SECONDS = 20.0


def event(n: int = 0, **more):
    return new_event(**{"type": "step", "module": "feed", "data": {"n": n}} | more)


@pytest.fixture
async def served(core, clean):
    """The API on a port of its own."""
    server = ApiServer(app=with_edge(create_app(core.services())), listener=bind(0), stop_timeout_seconds=2.0)
    await server.start()
    yield server
    await server.stop()


class Stream:
    """What a reader of server-sent events sees."""

    def __init__(self, lines: AsyncIterator[str]) -> None:
        self._lines = lines

    async def next(self) -> dict[str, str]:
        """Give the next event's fields; comments and `retry` alone are passed over."""
        found: dict[str, str] = {}
        async with asyncio.timeout(DEADLINE_SECONDS):
            async for line in self._lines:
                if line == "" and found.keys() & {"data", "event"}:
                    return found
                name, _, value = line.partition(": ")
                if name in ("id", "event"):
                    found[name] = value
                elif name == "data":
                    found["data"] = found["data"] + "\n" + value if "data" in found else value
        return found

    async def numbers(self, count: int) -> list[int]:
        return [json.loads((await self.next())["data"])["data"]["n"] for _ in range(count)]


@asynccontextmanager
async def following(server: ApiServer, headers=None, **query):
    async with (
        httpx.AsyncClient(base_url=server.url, timeout=DEADLINE_SECONDS) as client,
        client.stream("GET", "/events/stream", params=query, headers=headers) as answer,
    ):
        assert answer.status_code == 200, await answer.aread()
        assert answer.headers["content-type"].startswith("text/event-stream")
        yield Stream(answer.aiter_lines())


class TestServerSentEvents:
    async def test_from_the_beginning_and_on(self, core, served) -> None:
        """What is there already comes first, what is recorded then follows, without a seam."""
        await core.recorder.record_many([event(n) for n in range(700)])
        async with following(served, since="0-0") as stream:
            assert await stream.numbers(700) == list(range(700))
            for n in range(700, 720):
                await core.recorder.record(event(n))
            assert await stream.numbers(20) == list(range(700, 720))

    async def test_now_means_from_now_on(self, core, served) -> None:
        await core.recorder.record(event(1))
        async with following(served) as stream:
            await core.recorder.record(event(2))
            assert await stream.numbers(1) == [2]

    async def test_who_comes_back_with_its_last_id_goes_on_there(self, core, served) -> None:
        await core.recorder.record_many([event(n) for n in range(9)])
        async with following(served, since="0-0") as stream:
            for _ in range(4):
                last = (await stream.next())["id"]
        async with following(served, {"Last-Event-ID": last}, since="0-0") as stream:
            assert await stream.numbers(5) == [4, 5, 6, 7, 8]

    async def test_writers_at_once_lose_and_repeat_nothing_for_anybody(self, core, served, pg) -> None:
        """Readers that begin in the middle of it, too: each sees the log's own order from its position on."""

        async def write(first: int) -> None:
            for n in range(first, first + 40):
                await core.recorder.record(event(n))

        async def read(since: str, count: int) -> list[str]:
            async with following(served, since=since) as stream:
                return [(await stream.next())["id"] for _ in range(count)]

        readers = [asyncio.create_task(read("0-0", 200)) for _ in range(3)]
        await asyncio.gather(*(write(n * 100) for n in range(5)))
        rows = await pg.fetch("SELECT xact, seq FROM l1.record ORDER BY xact, seq")
        log = [str(Position(*row)) for row in rows]
        readers += [asyncio.create_task(read(log[n], 199 - n)) for n in (0, 77, 150)]
        seen = await asyncio.gather(*readers)
        assert seen[:3] == [log] * 3
        assert seen[3:] == [log[n + 1 :] for n in (0, 77, 150)]

    async def test_filters(self, core, served) -> None:
        await core.recorder.record_many(
            [
                event(0, module="other"), event(1, type="chapter.saved"), event(2, type="chapter.closed"),
                event(3, subject="ch-1"), event(4),
            ]
        )  # fmt: skip
        for query, expected in (
            ({"type": "chapter.*"}, [1, 2]),
            ({"type": "step", "module": "feed"}, [3, 4]),
            ({"subject": "ch-1"}, [3]),
            ({"module": "other"}, [0]),
        ):
            async with following(served, since="0-0", **query) as stream:
                assert await stream.numbers(len(expected)) == expected

    async def test_line_breaks_in_the_data_stay_inside_one_event(self, core, served) -> None:
        raw = b'{\n "n":\r 1,\r\n "id: 9-9": "x"\n}'
        await core.recorder.record(new_event(type="step", module="feed", raw_data=raw))
        async with following(served, since="0-0") as stream:
            assert json.loads((await stream.next())["data"])["data"] == {"n": 1, "id: 9-9": "x"}

    async def test_a_position_past_the_end_waits_for_what_is_past_it(self, core, served) -> None:
        """And keeps nothing from the others."""
        async with following(served, since="999999999-0"), following(served, since="0-0") as stream:
            await core.recorder.record(event(5))
            assert await stream.numbers(1) == [5]

    @pytest.mark.parametrize("query", [{"since": "nowhere"}, {"module": "a\x00"}])
    async def test_bad_input_is_named(self, served, query) -> None:
        async with httpx.AsyncClient(base_url=served.url) as client:
            answer = await client.get("/events/stream", params=query)
        assert answer.status_code == 422

    async def test_a_beat_moves_the_place_of_who_wants_little(self, core, served, monkeypatch) -> None:
        """Who comes back after a long time without a wanted event need not look through all the others again."""
        monkeypatch.setattr("cos.backend.events.live.HEARTBEAT_SECONDS", 0)
        recorded = await core.recorder.record(event(1))
        async with (
            asyncio.timeout(DEADLINE_SECONDS),
            httpx.AsyncClient(base_url=served.url, timeout=DEADLINE_SECONDS) as client,
            client.stream("GET", "/events/stream", params={"since": "0-0", "module": "other"}) as answer,
        ):
            lines = answer.aiter_lines()
            async for line in lines:
                if line == f"id: {recorded.position}":
                    assert await anext(lines) == ""  # no data: a client only moves its place
                    break

    async def test_a_stop_ends_it_at_once_and_says_so(self, served) -> None:
        async with following(served) as stream:
            stopping = asyncio.create_task(served.stop())
            assert (await stream.next())["event"] == "bye"
            await stopping

    async def test_it_works_with_redis_away(self, core, served, monkeypatch) -> None:
        """More slowly: nobody rings, so it looks by itself."""
        monkeypatch.setattr(core, "_announced", lambda: None)
        core.relay._announced = lambda: None
        async with following(served) as stream:
            await core.recorder.record(event(3))
            assert await stream.numbers(1) == [3]


class TestWebSocket:
    def url(self, served, query: str) -> str:
        return served.url.replace("http", "ws") + "/events/ws" + query

    async def test_each_event_is_one_message(self, core, served) -> None:
        await core.recorder.record_many([event(n) for n in range(3)])
        async with (
            connect(self.url(served, "?since=0-0&module=feed")) as socket,
            asyncio.timeout(DEADLINE_SECONDS),
        ):
            assert [json.loads(await socket.recv())["data"]["n"] for _ in range(3)] == [0, 1, 2]
            await core.recorder.record(event(3))
            assert json.loads(await socket.recv())["data"]["n"] == 3

    async def test_a_bad_position_is_told_in_the_close(self, served) -> None:
        async with connect(self.url(served, "?since=nowhere")) as socket:
            with pytest.raises(ConnectionClosed) as seen:
                await socket.recv()
        assert seen.value.rcvd.code == 1008
        assert "nowhere" in seen.value.rcvd.reason

    async def test_pages_of_others_may_not_listen(self, served) -> None:
        with pytest.raises(Exception, match="403"):
            async with connect(self.url(served, ""), origin="https://elsewhere.example"):
                pass


class TestFollower:
    """The feed without HTTP."""

    @pytest.fixture
    async def feed(self, core, clean):
        made = Feed(url=core.database_url)
        yield made
        await made.close()

    async def test_a_slow_reader_is_let_go_and_the_others_are_not(self, core, feed, monkeypatch) -> None:
        monkeypatch.setattr(feeds, "MAX_UNREAD_EVENTS", 10)
        slow, quick = feed.follow(Wanted(), START), feed.follow(Wanted(), START)
        await core.recorder.record(event(0))
        await anext(slow)
        await anext(quick)
        for reader in (slow, quick):
            assert (await anext(reader)).items == ()  # both wait behind the first event now
        for n in range(11):
            await core.recorder.record(event(n))
            await feed.turn()
            assert len((await anext(quick)).items) == 1
        with pytest.raises(TooSlow):
            await anext(slow)
        assert feed.followers == 1
        await quick.aclose()
        assert feed.followers == 0

    async def test_what_an_open_transaction_may_precede_is_not_given_yet(self, core, feed, pg) -> None:
        reader = feed.follow(Wanted(), START)
        assert list((await anext(reader)).items) == []
        transaction = pg.transaction()
        await transaction.start()
        await pg.fetchval("SELECT pg_current_xact_id()")
        await core.recorder.record(event(1))
        await feed.turn()
        assert list((await anext(reader)).items) == []
        await transaction.rollback()
        await feed.turn()
        batch = await anext(reader)
        assert [item.type for item in batch.items] == ["step"]
        assert batch.upto == batch.items[0].position
        await reader.aclose()

    async def test_one_that_is_larger_than_the_bound_is_taken_alone(self, core, feed, monkeypatch) -> None:
        monkeypatch.setattr(feeds, "MAX_UNREAD_BYTES", 10)
        reader = feed.follow(Wanted(), START)
        assert (await anext(reader)).items == ()
        await core.recorder.record(event(1))
        await feed.turn()
        assert len((await anext(reader)).items) == 1
        await reader.aclose()

    async def test_with_nobody_to_feed_nothing_is_read(self, feed) -> None:
        assert await feed.turn() == feeds.IDLE_SECONDS
        assert feed._connection is None
