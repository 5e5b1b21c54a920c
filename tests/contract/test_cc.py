"""The control centre's routes: the shapes that clients rely on, with values that are measured."""

from __future__ import annotations

import json
from datetime import datetime

import pytest

import cos

JSON = {"content-type": "application/json"}


class TestHealth:
    """What is said of health, when all is well."""

    async def test_liveness_status_and_config(self, steady) -> None:
        assert (await steady.get("/health")).json() == {"status": "ok"}
        assert (await steady.get("/cc/status")).json() == {"status": "ok"}
        assert (await steady.get("/ready")).json() == {"status": "ok", "causes": []}
        config = (await steady.get("/cc/config")).json()
        assert config == {
            "version": cos.__version__,
            "modules_loaded": ["cc", "events", "highway", "scratch", "webhooks", "access", "dashboard"],
        }

    async def test_enhanced_health(self, steady) -> None:
        """Every member of the contract, the uptime running and the times aware."""
        first, second = [(await steady.get("/cc/health/enhanced")).json() for _ in range(2)]
        assert first["status"] == "healthy"
        assert first["redis_connected"] is True
        assert first["circuit_breaker_state"]["state"] == "CLOSED"
        assert first["circuit_breaker_state"]["failure_count"] == 0
        assert first["dlq_metrics"] == []
        assert first["causes"] == []
        assert 0 < first["uptime_seconds"] < second["uptime_seconds"]
        assert datetime.fromisoformat(first["timestamp"]) < datetime.fromisoformat(second["timestamp"])
        assert datetime.fromisoformat(first["timestamp"]).utcoffset() is not None


class TestDebugLog:
    """POST /cc/debug/log: an event followed all the way."""

    async def test_the_event_is_really_read_back(self, client, stream_of, pg) -> None:
        """publish_success is true and published_message is the very entry that stands in the stream."""
        sent = {
            "event_type": "debug.ping",
            "payload": {"n": [1, None, "ä"]},
            "prompt_data": {"prompt": "p", "response": "r", "prompt_tokens": 7},
            "request_id": "req-1",
            "trace_id": "trace-1",
        }
        answer = await client.post("/cc/debug/log", json=sent)
        assert answer.status_code == 201
        found = answer.json()
        assert set(found) == {"success", "message", "log_ids", "performance_ms", "redis_validation"}
        assert found["success"] is True
        assert found["performance_ms"] > 0
        assert set(found["log_ids"]) == {"base_log_id", "event_log_id", "prompt_trace_id"}

        validation = found["redis_validation"]
        assert (validation["publish_success"], validation["connection_status"]) == (True, "connected")
        assert validation["error_details"] is None
        assert validation["redis_latency_ms"] >= 0
        [(_, entry)] = await stream_of("cc")
        assert validation["published_message"] == entry
        assert entry["id"] == found["log_ids"]["event_log_id"] == found["log_ids"]["base_log_id"]
        assert (entry["type"], entry["data"]) == ("debug.ping", sent["payload"])
        assert (entry["requestid"], entry["traceid"]) == ("req-1", "trace-1")
        kept = await pg.fetchrow("SELECT id::text, tokens_in, prompt FROM l1.prompt_trace")
        assert tuple(kept) == (found["log_ids"]["prompt_trace_id"], 7, "p")

    async def test_the_smallest(self, client) -> None:
        """Only the type: no prompt trace, null data, the request's own id."""
        found = (
            await client.post("/cc/debug/log", json={"event_type": "x"}, headers={"x-request-id": "r"})
        ).json()
        assert found["log_ids"]["prompt_trace_id"] is None
        assert found["redis_validation"]["published_message"]["data"] is None
        assert found["redis_validation"]["published_message"]["requestid"] == "r"

    @pytest.mark.parametrize(
        ("body", "status", "said"),
        [
            (b"", 422, "body"),
            (b"{", 422, "JSON"),
            (b"\xff", 400, "body"),
            (b"{}", 422, "event_type"),
            (b'{"event_type": ""}', 422, "event_type"),
            (b'{"event_type": "' + b"a" * 101 + b'"}', 422, "event_type"),
            (b'{"event_type": "two words"}', 422, "'two words'"),
            (b'{"event_type": "a", "payload": NaN}', 422, "NaN"),
            (b'{"event_type": "a", "payload": "\\u0000"}', 422, "NUL"),
            (b'{"event_type": "a", "payload": "\\ud800"}', 422, "surrogate"),
            (b'{"event_type": "a", "payload": "' + b"x" * 1024 * 1024 + b'"}', 413, "1048576"),
            (b'{"event_type": "a", "payload": ' + b"[" * 70 + b"]" * 70 + b"}", 422, "64 levels"),
            (b'{"event_type": "a", "payload": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", 400, "body"),
            (b'{"event_type": "a", "prompt_data": []}', 422, "prompt_data"),
            (b'{"event_type": "a", "prompt_data": {"promt": 1}}', 422, "promt"),
            (b'{"event_type": "a", "prompt_data": {"\\ud800": 1}}', 422, "surrogate"),
            (b'{"event_type": "a", "prompt_data": {"tokens_in": "\\ud800"}}', 422, "surrogate"),
            (b'{"event_type": "a", "request_id": "' + b"r" * 201 + b'"}', 422, "201"),
        ],
    )
    async def test_what_is_refused(self, steady, problem, pg, body, status, said) -> None:
        """A problem that names what is wrong; nothing is recorded."""
        before = await pg.fetchval("SELECT count(*) FROM l1.record")
        problem(await steady.post("/cc/debug/log", content=body, headers=JSON), status, said)
        assert await pg.fetchval("SELECT count(*) FROM l1.record") == before


class TestModules:
    """The modules: made, listed, changed, removed, and each change an event."""

    async def test_a_module_from_beginning_to_end(self, client, stream_of, eventually) -> None:
        """The shape of each answer is the contract's; the events tell the module as it then was."""
        made = await client.post("/cc/modules", json={"name": "editor", "version": "1.0", "config": "{}"})
        module = made.json()
        assert made.status_code == 201
        shape = {"name": "editor", "version": "1.0", "active": True, "last_active": None, "config": "{}"}
        assert module == {"id": module["id"], **shape}
        path = f"/cc/modules/{module['id']}"
        assert (await client.get(path)).json() == module
        assert (await client.get("/cc/modules")).json() == [module]

        patched = await client.patch(path, json={"version": "1.1", "active": False, "config": None})
        changed = {**module, "version": "1.1", "active": False, "config": None}
        assert (patched.status_code, patched.json()) == (200, changed)
        assert (await client.patch(path, json={})).json() == changed
        assert (await client.patch(path, json={"name": "editor"})).status_code == 200

        gone = await client.delete(path)
        assert (gone.status_code, gone.json()) == (200, changed)
        assert (await client.get("/cc/modules")).json() == []

        async def announced():
            return len(await stream_of("cc")) == 4

        await eventually(announced)
        events = [event for _, event in await stream_of("cc")]
        kinds = ["module.created", "module.changed", "module.changed", "module.deleted"]
        assert [event["type"] for event in events] == kinds
        assert {event["subject"] for event in events} == {module["id"]}
        assert [event["data"] for event in events] == [module, changed, changed, changed]

    async def test_pages(self, client, problem) -> None:
        """Oldest first; `skip` and `limit` cut out a piece."""
        for n in range(7):
            await client.post("/cc/modules", json={"name": f"m{n}", "version": "1"})

        async def names(**params):
            return [one["name"] for one in (await client.get("/cc/modules", params=params)).json()]

        assert await names() == [f"m{n}" for n in range(7)]
        assert await names(skip=2, limit=3) == ["m2", "m3", "m4"]
        assert await names(skip=2**63 - 1) == []
        for bad in ({"skip": -1}, {"limit": 0}, {"limit": 1001}, {"skip": 2**63}):
            problem(await client.get("/cc/modules", params=bad), 422, next(iter(bad)))

    async def test_names_are_unique(self, client, problem, pg) -> None:
        """409 names the taken name, on making and on renaming; the refused change is no event."""
        first = (await client.post("/cc/modules", json={"name": "one", "version": "1"})).json()
        second = (await client.post("/cc/modules", json={"name": "two", "version": "1"})).json()
        taken = await client.post("/cc/modules", json={"name": "one", "version": "2"})
        assert problem(taken, 409, "'one'")["type"] == "urn:cos:problem:conflict"
        problem(await client.patch(f"/cc/modules/{second['id']}", json={"name": "one"}), 409, "'one'")
        assert [one["name"] for one in (await client.get("/cc/modules")).json()] == ["one", "two"]
        assert await pg.fetchval("SELECT count(*) FROM l1.record") == 2
        assert (await client.delete(f"/cc/modules/{first['id']}")).status_code == 200
        assert (await client.post("/cc/modules", json={"name": "one", "version": "3"})).status_code == 201

    @pytest.mark.parametrize("module_id", ["nobody", "0", "%F0%9F%98%80", "%ff"])
    async def test_an_unknown_module(self, steady, problem, module_id) -> None:
        path = f"/cc/modules/{module_id}"
        for answer in (
            await steady.get(path),
            await steady.delete(path),
            await steady.patch(path, json={"active": True}),
        ):
            assert problem(answer, 404, "There is no module")["type"] == "urn:cos:problem:not-found"

    async def test_an_id_that_no_module_can_have(self, steady, problem) -> None:
        for method in ("GET", "DELETE", "PATCH"):
            body = {"version": "1"} if method == "PATCH" else None
            problem(await steady.request(method, "/cc/modules/%00", json=body), 422, "NUL")

    @pytest.mark.parametrize(
        ("body", "said"),
        [
            ({}, "name"),
            ({"name": "a"}, "version"),
            ({"name": "", "version": "1"}, "name"),
            ({"name": "a" * 256, "version": "1"}, "name"),
            ({"name": "a", "version": ""}, "version"),
            ({"name": "a", "version": "1" * 51}, "version"),
            ({"name": 1, "version": "1"}, "name"),
            ({"name": "a", "version": "1", "config": {}}, "config"),
            ({"name": "a", "version": "1", "config": "x" * 65_537}, "config"),
            ({"name": "a", "version": "1", "active": True}, "active"),
            ({"name": "a\x00", "version": "1"}, "NUL"),
            ({"name": "\ud800", "version": "1"}, "surrogate"),
            ([], "body"),
            (None, "body"),
        ],
    )
    async def test_what_is_no_module(self, steady, problem, body, said) -> None:
        """422 names the member, first in words and then as a list."""
        found = problem(await steady.post("/cc/modules", content=json.dumps(body), headers=JSON), 422, said)
        assert found["errors"][0]["at"].startswith("body")

    @pytest.mark.parametrize(
        ("patch", "said"),
        [
            ({"name": None}, "cannot be null"),
            ({"version": None}, "cannot be null"),
            ({"active": None}, "cannot be null"),
            ({"active": "perhaps"}, "active"),
            ({"id": "x"}, "id"),
            ({"name": ""}, "name"),
            ({"name": "a\x00"}, "NUL"),
        ],
    )
    async def test_what_is_no_change(self, steady, problem, patch, said) -> None:
        problem(await steady.patch("/cc/modules/any", json=patch), 422, said)

    async def test_the_widest_module(self, client) -> None:
        """Each limit includes its own value."""
        widest = {"name": "ä" * 255, "version": "1" * 50, "config": "x" * 65_536}
        made = await client.post("/cc/modules", json=widest)
        assert made.status_code == 201
        assert widest.items() <= made.json().items()

    async def test_a_body_past_the_limit(self, narrow, problem) -> None:
        """413, by its declared length and by what really comes."""

        async def endless():
            for _ in range(100):
                yield b" " * 1024

        problem(await narrow.post("/cc/modules", content=b" " * 2049, headers=JSON), 413, "larger")
        problem(await narrow.post("/cc/debug/log", content=endless(), headers=JSON), 413, "larger")
