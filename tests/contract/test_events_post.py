"""POST /events with one event or an array: what is taken, what is refused, and in which words."""

from __future__ import annotations

import asyncio
import json

import pytest

JSON = {"content-type": "application/json"}
EVENT = b'{"type": "chapter.saved"}'


def with_data(data: bytes) -> bytes:
    return b'{"type": "a", "data": ' + data + b"}"


class TestOneEvent:
    """A single event."""

    async def test_it_is_recorded_and_can_be_read_where_the_answer_says(self, client) -> None:
        """201 with the id, the position and a Location that gives back every member."""
        sent = {
            "type": "chapter.saved",
            "module": "editor",
            "subject": "ch01",
            "data": {"words": 2031, "ä": [None, 1.5, "\U0001f600"]},
            "level": "warning",
            "time": "2026-01-31T13:00:00+01:00",
            "request_id": "req-7",
            "trace_id": "trace-7",
            "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "idempotency_key": "key-7",
            "prompt": {
                "prompt": "Shorten.",
                "response": "Done.",
                "model": "m",
                "latency_ms": 3,
                "tokens_in": 1,
            },
        }
        answer = await client.post("/events", json=sent)
        assert answer.status_code == 201
        receipt = answer.json()
        assert set(receipt) == {"id", "position", "duplicate"}
        assert receipt["duplicate"] is False
        assert answer.headers["location"] == f"/events/{receipt['id']}"

        read = (await client.get(answer.headers["location"])).json()
        prompt = read.pop("prompt")
        assert prompt.pop("id")
        assert prompt == sent["prompt"]
        assert read.pop("recordedtime").endswith("Z")
        assert read == {
            "specversion": "1.0",
            "id": receipt["id"],
            "source": "/cos/editor",
            "type": "chapter.saved",
            "time": "2026-01-31T12:00:00Z",
            "subject": "ch01",
            "datacontenttype": "application/json",
            "data": sent["data"],
            "module": "editor",
            "level": "warning",
            "position": receipt["position"],
            "requestid": "req-7",
            "traceid": "trace-7",
            "traceparent": sent["traceparent"],
            "idempotencykey": "key-7",
        }

    async def test_the_smallest_event(self, client, post) -> None:
        """Only `type` is needed; the rest has its defaults, the request's id among them."""
        answer = await post(EVENT, **{"x-request-id": "from-header"})
        read = (await client.get(answer.headers["location"])).json()
        assert (read["module"], read["level"], read["data"]) == ("cc", "info", None)
        assert read["requestid"] == "from-header"
        assert read["time"] == read["recordedtime"]
        assert {"subject", "traceid", "idempotencykey", "prompt"}.isdisjoint(read)

    async def test_the_trace_of_the_request_is_followed(self, client, post) -> None:
        """A `traceparent` header becomes the event's trace context; a broken one counts as absent."""
        parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
        followed = (await client.get((await post(EVENT, traceparent=parent)).headers["location"])).json()
        assert (followed["traceparent"], followed["traceid"]) == (parent, parent[3:35])
        lost = (await client.get((await post(EVENT, traceparent="00-zz")).headers["location"])).json()
        assert {"traceparent", "traceid"}.isdisjoint(lost)

    async def test_data_is_given_back_to_the_byte(self, client, post) -> None:
        """Spaces, key order, doubled keys and number spelling are the client's own."""
        data = b'{ "z":1.0,  "a":1e2, "z":12345678901234567890, "u":"\\u00e9" }'
        answer = await post(with_data(data))
        assert data in (await client.get(answer.headers["location"])).content
        assert data in (await client.get("/events")).content

    @pytest.mark.parametrize(
        "kind", ["application/json", "application/json; charset=utf-8", "Application/JSON"]
    )
    async def test_content_types_that_are_json(self, steady, kind) -> None:
        answer = await steady.post("/events", content=EVENT, headers={"content-type": kind})
        assert answer.status_code == 201

    @pytest.mark.parametrize(
        "kind", ["text/plain", "application/xml", "", "json", "multipart/form-data; boundary=x"]
    )
    async def test_other_content_types(self, steady, problem, kind) -> None:
        """415 names the type and those that are taken."""
        answer = await steady.post("/events", content=EVENT, headers={"content-type": kind})
        problem(answer, 415, "application/x-ndjson")

    @pytest.mark.parametrize(
        ("body", "said"),
        [
            (b"", "not JSON"),
            (b" \r\n ", "not JSON"),
            (b"{", "not JSON"),
            (b'{"type": "a"', "not JSON"),
            (b"\xef\xbb\xbf" + EVENT, "not JSON"),
            (EVENT + b" " + EVENT, "trailing"),
            (b'"chapter.saved"', "not an event"),
            (b"17", "not an event"),
            (b"null", "not an event"),
            (b"{}", "`type`"),
            (b'{"type": 1}', "$.type"),
            (b'{"type": ""}', "event type ''"),
            (b'{"type": "two words"}', "'two words'"),
            (b'{"type": "' + b"a" * 101 + b'"}', "100 characters"),
            (b'{"type": "a", "colour": 1}', "colour"),
            (b'{"type": "a", "module": "a b"}', "'a b'"),
            (b'{"type": "a", "module": "' + b"m" * 65 + b'"}', "64 characters"),
            (b'{"type": "a", "subject": "' + b"s" * 501 + b'"}', "501"),
            (b'{"type": "a", "subject": "a\\u0000b"}', "NUL"),
            (b'{"type": "a", "subject": "\\ud800"}', "surrogate"),
            (b'{"type": "a", "level": "loud"}', "debug, info, warning, error, critical"),
            (b'{"type": "a", "request_id": "\\u0000"}', "NUL"),
            (b'{"type": "a", "trace_id": "' + b"t" * 201 + b'"}', "201"),
            (b'{"type": "a", "idempotency_key": ""}', "empty"),
            (b'{"type": "a", "idempotency_key": "' + b"k" * 201 + b'"}', "201"),
            (b'{"type": "a", "time": "2026-01-31T12:00:00"}', "no timezone"),
            (b'{"type": "a", "time": "yesterday"}', "$.time"),
            (b'{"type": "a", "time": "2026-02-30T12:00:00Z"}', "$.time"),
            (b'{"type": "a", "time": "0001-01-01T00:00:00+14:00"}', "outside the years"),
            (b'{"type": "a", "prompt": {"promt": "x"}}', "promt"),
            (b'{"type": "a", "prompt": {"tokens_in": -1}}', "tokens_in"),
            (b'{"type": "a", "prompt": {"tokens_in": 4294967296}}', "tokens_in"),
            (b'{"type": "a", "prompt": {"prompt": "\\u0000"}}', "NUL"),
            (with_data(b"NaN"), "not JSON"),
            (with_data(b"-Infinity"), "not JSON"),
            (with_data(b"1e999"), "out of range"),
            (with_data(b"9" * 5000), "out of range"),
            (with_data(b'"\\u0000"'), "NUL"),
            (with_data(b'{"a\\u0000": 1}'), "NUL"),
            (with_data(b'"\\ud800"'), "surrogate"),
            (with_data(b'"\\udc00\\ud800"'), "surrogate"),
            (with_data(b'"\xff"'), "UTF-8"),
            (with_data(b"[" * 65 + b"]" * 65), "64 levels"),
            (with_data(b"[" * 100_000 + b"]" * 100_000), "too deep"),
        ],
    )
    async def test_what_is_refused_is_named(self, steady, problem, pg, body, said) -> None:
        """422 in one sentence that names what is wrong; nothing is recorded."""
        before = await pg.fetchval("SELECT count(*) FROM l1.record")
        problem(await steady.post("/events", content=body, headers=JSON), 422, said)
        assert await pg.fetchval("SELECT count(*) FROM l1.record") == before

    @pytest.mark.parametrize(
        "body",
        [
            b'{"type": "' + b"a" * 100 + b'"}',
            b'{"type": "a.b:c/d-e_9", "module": "' + b"m" * 64 + b'"}',
            b'{"type": "a", "subject": "' + b"s" * 500 + b'"}',
            b'{"type": "a", "idempotency_key": "' + b"k" * 200 + b'"}',
            b'{"type": "a", "time": "9999-12-31T23:59:59.999998Z"}',
            b'{"type": "a", "subject": null, "time": null, "prompt": null, "data": null, "trace_id": null}',
            b'{"type": "a", "prompt": {"tokens_in": 2147483647}}',
            with_data(b"[" * 64 + b"]" * 64),
            with_data(b'"' + b"x" * (1024 * 1024 - 2) + b'"'),
            with_data(b'"\\\\u0000 is a text of six characters"'),
            with_data(b'"\\ud83d\\ude00"'),
            b"\r\n\t " + EVENT + b"\n",
        ],
    )
    async def test_what_is_just_allowed(self, steady, body) -> None:
        """Each limit includes its own value."""
        answer = await steady.post("/events", content=body, headers=JSON)
        assert answer.status_code in {200, 201}, answer.text

    async def test_too_large(self, post, narrow, problem) -> None:
        """413 for data past its limit, and for a body past its own."""
        problem(await post(with_data(b'"' + b"x" * 1024 * 1024 + b'"')), 413, "1048576")
        json_type = {"content-type": "application/json"}
        problem(await narrow.post("/events", json={"type": "a", "data": "x" * 1100}), 413, "1024")
        problem(await narrow.post("/events", content=b" " * 2049, headers=json_type), 413, "2048")
        assert (await narrow.post("/events", json={"type": "a", "data": "x" * 1000})).status_code == 201


class TestIdempotency:
    """The same key again gives back the first record."""

    async def test_the_key_of_the_event_or_of_the_header(self, client, post, pg) -> None:
        """200 with the first receipt, marked as a duplicate; the event's own key wins over the header's."""
        first = await post(b'{"type": "paid", "idempotency_key": "k-1"}')
        by_member = await post(
            b'{"type": "paid.again", "idempotency_key": "k-1"}', **{"idempotency-key": "other"}
        )
        by_header = await post(b'{"type": "paid.again"}', **{"idempotency-key": "k-1"})
        assert (first.status_code, by_member.status_code, by_header.status_code) == (201, 200, 200)
        for again in (by_member, by_header):
            assert again.json() == {**first.json(), "duplicate": True}
            assert again.headers["location"] == first.headers["location"]
        assert await pg.fetchval("SELECT array_agg(type) FROM l1.record") == ["paid"]

    async def test_many_at_the_same_moment(self, post, pg) -> None:
        """However many send the same key at once, one is recorded and all name it."""
        answers = await asyncio.gather(*(post(EVENT, **{"idempotency-key": "k"}) for _ in range(20)))
        assert sorted(answer.status_code for answer in answers) == [200] * 19 + [201]
        assert len({answer.json()["id"] for answer in answers}) == 1
        assert await pg.fetchval("SELECT count(*) FROM l1.record") == 1

    async def test_a_bad_header(self, post, problem) -> None:
        problem(await post(EVENT, **{"idempotency-key": "k" * 201}), 422, "201")


class TestArray:
    """An array: one transaction."""

    async def test_all_in_order(self, client, post, eventually, stream_of) -> None:
        """201 with a receipt each, in the array's order, which is the log's and the stream's."""
        answer = await post(json.dumps([{"type": "step", "data": n} for n in range(1200)]).encode())
        assert answer.status_code == 201
        found = answer.json()
        assert (found["recorded"], found["duplicates"]) == (1200, 0)
        page = (await client.get("/events", params={"limit": 1000})).json()
        assert [event["data"] for event in page["events"]] == list(range(1000))
        assert [event["id"] for event in page["events"]] == [one["id"] for one in found["events"][:1000]]

        async def announced():
            return len(await stream_of("cc")) == 1200

        await eventually(announced)
        assert [event["id"] for _, event in await stream_of("cc")] == [one["id"] for one in found["events"]]

    @pytest.mark.parametrize("body", [b"[]", b" \n[ \t ]\r\n"])
    async def test_an_empty_array(self, steady, body) -> None:
        """Nothing was asked for, and nothing was done: 200."""
        answer = await steady.post("/events", content=body, headers=JSON)
        assert (answer.status_code, answer.json()) == (200, {"recorded": 0, "duplicates": 0, "events": []})

    @pytest.mark.parametrize(
        ("bad", "said"),
        [
            ({"type": "no spaces"}, "Event 2 of the array"),
            ({"type": "a", "data": "\x00"}, "Event 2 of the array"),
            ({"type": "a", "surprise": 1}, "$[2]"),
            (17, "$[2]"),
        ],
    )
    async def test_all_or_none(self, post, problem, pg, bad, said) -> None:
        """One bad event refuses the array, and is pointed at."""
        events = [{"type": "good"}, {"type": "good"}, bad, {"type": "good"}]
        problem(await post(json.dumps(events).encode()), 422, said)
        assert await pg.fetchval("SELECT count(*) FROM l1.record") == 0

    @pytest.mark.parametrize("body", [b"[", b"[" + EVENT, b"[" + EVENT + b",]", b"[" + EVENT + b"]x"])
    async def test_half_an_array(self, steady, problem, body) -> None:
        problem(await steady.post("/events", content=body, headers=JSON), 422, "not JSON")

    async def test_keys_inside_an_array(self, post) -> None:
        """A key that was used before, or twice in the array, is a duplicate of the first; all repeated is 200."""
        await post(b'{"type": "a", "idempotency_key": "k-1"}')
        body = json.dumps(
            [{"type": "b", "idempotency_key": key} for key in ("k-1", "k-2", "k-2", "k-3")]
        ).encode()
        first, again = await post(body), await post(body)
        assert (first.status_code, first.json()["recorded"], first.json()["duplicates"]) == (201, 2, 2)
        assert [one["duplicate"] for one in first.json()["events"]] == [True, False, True, False]
        assert (again.status_code, again.json()["recorded"], again.json()["duplicates"]) == (200, 0, 4)
        assert [one["id"] for one in again.json()["events"]] == [one["id"] for one in first.json()["events"]]

    async def test_too_many(self, post, problem) -> None:
        """413 says how to send more."""
        problem(await post(b"[" + b",".join([EVENT] * 10_001) + b"]"), 413, "application/x-ndjson")
