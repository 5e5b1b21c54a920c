"""POST /events with lines: recorded as they come, in order, up to the first that cannot be."""

from __future__ import annotations

import asyncio
import json

import httpx
import pytest

from cos.backend.events.service import STREAM_BATCH

LINES = {"content-type": "application/x-ndjson"}


def lines(count: int, first: int = 0) -> bytes:
    return b"".join(b'{"type": "line", "data": %d}\n' % n for n in range(first, first + count))


@pytest.fixture
def recorded(pg):
    """The data of what is recorded, in the log's order."""

    async def read():
        rows = await pg.fetch("SELECT data FROM l1.record ORDER BY xact, seq")
        return [json.loads(row["data"]) for row in rows]

    return read


class TestLines:
    """What counts as a line."""

    @pytest.mark.parametrize(
        "kind",
        [
            "application/x-ndjson",
            "application/jsonl",
            "application/x-jsonlines",
            "application/ndjson; charset=utf-8",
            "Application/X-NDJSON",
        ],
    )
    async def test_content_types(self, steady, kind) -> None:
        """200 with what became of the lines."""
        answer = await steady.post("/events", content=lines(2), headers={"content-type": kind})
        assert answer.status_code == 200
        assert set(answer.json()) == {"recorded", "duplicates", "last_position"}
        assert answer.json()["recorded"] == 2

    @pytest.mark.parametrize(
        "body",
        [
            b'{"type": "line", "data": 0}\n{"type": "line", "data": 1}',
            b'{"type": "line", "data": 0}\r\n{"type": "line", "data": 1}\r\n',
            b'\n\n{"type": "line", "data": 0}\n \t\r\n\n{"type": "line", "data": 1}\n\n',
            [bytes([byte]) for byte in b'{"type": "line", "data": 0}\r\n{"type": "line", "data": 1}\n'],
            [b'{"type": "line", "data": 0}', b"\n", b"", b'{"type": "line", "data": 1}'],
        ],
        ids=["no last break", "CRLF", "blank lines", "byte by byte", "break alone"],
    )
    async def test_how_lines_may_end_and_arrive(self, post_lines, recorded, body) -> None:
        answer = await post_lines(body)
        assert answer.json()["recorded"] == 2
        assert await recorded() == [0, 1]

    @pytest.mark.parametrize("body", [b"", b"\n", b"\r\n \n"])
    async def test_nothing(self, steady, body) -> None:
        answer = await steady.post("/events", content=body, headers=LINES)
        assert answer.json() == {"recorded": 0, "duplicates": 0, "last_position": None}

    async def test_many_batches_in_order(self, client, post_lines, recorded, eventually, stream_of) -> None:
        """More than a batch: log and stream have the lines' order, and the last position is the last line's."""
        count = STREAM_BATCH * 3 + 7
        answer = await post_lines(lines(count))
        assert answer.json()["recorded"] == count
        assert await recorded() == list(range(count))
        newest = (await client.get("/events", params={"order": "desc", "limit": 1})).json()["events"][0]
        assert answer.json()["last_position"] == newest["position"]

        async def announced():
            return len(await stream_of("cc")) == count

        await eventually(announced)
        assert [event["data"] for _, event in await stream_of("cc")] == list(range(count))

    async def test_duplicates_are_counted(self, post_lines, recorded) -> None:
        """A stream that is sent again, and further, records only what is new."""
        keyed = [b'{"type": "line", "data": %d, "idempotency_key": "k-%d"}\n' % (n, n) for n in range(30)]
        first = await post_lines(b"".join(keyed[:20]))
        again = await post_lines(b"".join(keyed))
        assert (first.json()["recorded"], first.json()["duplicates"]) == (20, 0)
        assert (again.json()["recorded"], again.json()["duplicates"]) == (10, 20)
        assert await recorded() == list(range(30))


class TestBadLine:
    """The first line that cannot be recorded ends the stream; what stands before it is recorded."""

    @pytest.mark.parametrize(
        ("bad", "said"),
        [
            (b'{"type": "line", "da\n', "not JSON"),
            (b"half", "not JSON"),
            (b"[]\n", "not an event"),
            (b'{"type": "line", "data": NaN}\n', "not JSON"),
            (b'{"type": "line", "data": "\\u0000"}\n', "NUL"),
            (b'{"type": "line", "data": "\\udc00"}\n', "surrogate"),
            (b'{"type": "line", "data": "\xff"}\n', "UTF-8"),
            (b'{"type": "line", "surprise": 1}\n', "surprise"),
            (b'{"type": "line", "time": "2026-01-31T12:00:00"}\n', "timezone"),
        ],
    )
    async def test_in_the_middle(self, post_lines, problem, recorded, bad, said) -> None:
        """The problem counts blank lines as the file does, and tells how many were recorded."""
        found = problem(await post_lines(b"\n" + lines(3) + bad + lines(3, 100)), 422, said)
        assert found["detail"].startswith("Line 5: ")
        assert "The 3 lines before it are recorded." in found["detail"]
        assert (found["line"], found["recorded"], found["duplicates"]) == (5, 3, 0)
        assert await recorded() == [0, 1, 2]

    async def test_deep_in_the_stream(self, post_lines, problem, recorded) -> None:
        """After whole batches, the rest before the bad line is recorded too."""
        count = STREAM_BATCH * 2 + 5
        found = problem(await post_lines(lines(count) + b"bad\n" + lines(5)), 422, f"Line {count + 1}: ")
        assert found["recorded"] == count
        assert await recorded() == list(range(count))

    async def test_too_much_data(self, post_lines, problem, recorded) -> None:
        """413 for a line whose data is too large."""
        big = b'{"type": "line", "data": "' + b"x" * (1024 * 1024) + b'"}\n'
        found = problem(await post_lines(lines(2) + big), 413, "Line 3: ")
        assert found["recorded"] == 2
        assert await recorded() == [0, 1]

    async def test_a_line_without_an_end(self, post_lines, problem, recorded) -> None:
        """A line that only grows is refused before it fills the memory; what stands before it is recorded."""
        found = problem(await post_lines([lines(2), *([b"x" * 1024 * 1024] * 14)]), 413, "Line 3: ")
        assert "The 2 lines before it are recorded." in found["detail"]
        assert await recorded() == [0, 1]

    async def test_a_real_client_gets_the_answer_while_it_still_sends(self, served, problem) -> None:
        """Over a socket: the problem arrives although megabytes of the body were never read."""
        body = lines(2) + b"bad\n" + b" " * 20_000_000
        found = problem(await served.post("/events", content=body, headers=LINES), 422, "Line 3: ")
        assert found["recorded"] == 2
        assert (await served.get("/health")).status_code == 200


class TestLostClient:
    """A client that goes away in the middle of its stream."""

    async def test_what_was_durable_stays_and_it_can_be_sent_again(
        self, served, recorded, eventually, capsys
    ) -> None:
        """The server goes on without a traceback; with keys, sending it again gives each line once."""
        keyed = [b'{"type": "line", "data": %d, "idempotency_key": "k-%d"}\n' % (n, n) for n in range(2500)]
        url = served.base_url
        reader, writer = await asyncio.open_connection(url.host, url.port)
        head = f"POST /events HTTP/1.1\r\nHost: {url.host}\r\nContent-Type: application/x-ndjson\r\n"
        writer.write(head.encode() + b"Content-Length: 10000000\r\n\r\n" + b"".join(keyed[:2300]))
        await writer.drain()

        async def first_batch():
            return len(await recorded()) >= STREAM_BATCH

        await eventually(first_batch)
        writer.transport.abort()
        assert await reader.read() == b""

        again = await served.post("/events", content=b"".join(keyed), headers=LINES)
        assert again.json()["recorded"] + again.json()["duplicates"] == 2500
        assert sorted(await recorded()) == list(range(2500))
        shown = capsys.readouterr()
        assert "Traceback" not in shown.out + shown.err
        assert "client_gone" in shown.out

    async def test_a_slow_client_is_waited_for(self, served, recorded, eventually) -> None:
        """Lines that come one by one are recorded at the stream's end, and the others' requests go on meanwhile."""
        more = asyncio.Event()

        async def slowly():
            yield lines(1)
            await more.wait()
            yield lines(1, 1)

        sending = asyncio.create_task(served.post("/events", content=slowly(), headers=LINES))
        assert (await served.post("/events", json={"type": "other", "data": "x"})).status_code == 201
        more.set()
        async with asyncio.timeout(20):
            answer: httpx.Response = await sending
        assert answer.json()["recorded"] == 2
        assert await recorded() == ["x", 0, 1]
