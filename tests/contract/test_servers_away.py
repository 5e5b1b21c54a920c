"""The API while Redis or Postgres is away: what works, what says why it does not, and that it heals by itself."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest
import structlog

from cos.backend.app import create_app, with_edge
from cos.config import load_settings
from cos.runtime.core import Core

LINES = {"content-type": "application/x-ndjson"}


@pytest.fixture
async def hasty(servers, tmp_path, clean) -> AsyncIterator[httpx.AsyncClient]:
    """A whole COS that gives a record half a second to become durable."""
    settings = load_settings(data_dir=tmp_path / "data", record_timeout_seconds=0.5)
    urls = {"database_url": servers.postgres.url, "redis_url": servers.redis.url}
    async with Core(settings=settings, **urls) as core:
        transport = httpx.ASGITransport(
            app=with_edge(create_app(core.services())), raise_app_exceptions=False
        )
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000") as client:
            yield client


class TestRedisAway:
    """Slower, never silent: everything but the announcing goes on."""

    async def test_everything_goes_on(self, servers, client, stream_of, eventually) -> None:
        """Each way to write and read works, /ready is degraded with 200 and a cause; all is announced later."""
        await servers.redis.stop()
        try:
            one = await client.post("/events", json={"type": "one"})
            many = await client.post("/events", json=[{"type": "many"}] * 3)
            lines = await client.post("/events", content=b'{"type": "line"}\n' * 4, headers=LINES)
            made = await client.post("/cc/modules", json={"name": "m", "version": "1"})
            logged = await client.post("/cc/debug/log", json={"event_type": "debug"})
            listed = await client.get("/events")
            read = await client.get(one.headers["location"])
            ready = await client.get("/ready")
            health = await client.get("/cc/health/enhanced")
        finally:
            await servers.redis.start()

        assert [answer.status_code for answer in (one, many, lines, made, logged)] == [
            201,
            201,
            200,
            201,
            201,
        ]
        assert (read.status_code, len(listed.json()["events"])) == (200, 10)
        assert (ready.status_code, ready.json()["status"]) == (200, "degraded")
        assert any("Redis" in cause for cause in ready.json()["causes"])
        assert (health.status_code, health.json()["status"], health.json()["redis_connected"]) == (
            200,
            "degraded",
            False,
        )
        validation = logged.json()["redis_validation"]
        assert (validation["publish_success"], validation["published_message"]) == (False, None)
        assert validation["connection_status"] == "disconnected"
        assert validation["error_details"]

        async def announced():
            return len(await stream_of("cc")) == 10

        await eventually(announced)
        log = [event["id"] for event in (await client.get("/events")).json()["events"]]
        assert [event["id"] for _, event in await stream_of("cc")] == log
        assert (await client.get("/ready")).json() == {"status": "ok", "causes": []}

        async def debug_log_works_again():
            again = await client.post("/cc/debug/log", json={"event_type": "debug"})
            return again.json()["redis_validation"]["publish_success"]

        await eventually(debug_log_works_again)


class TestPostgresAway:
    """The truth is away: a clear 503 for what needs it, and no restart needed afterwards."""

    async def test_503_and_recovery(self, servers, hasty, problem, eventually) -> None:
        """Every route that needs Postgres answers 503 with Retry-After, without a traceback; then all work again."""
        assert (await hasty.post("/events", json={"type": "before"})).status_code == 201
        module = (await hasty.post("/cc/modules", json={"name": "before", "version": "1"})).json()
        await servers.postgres.stop()
        try:
            with structlog.testing.capture_logs() as logs:
                refused = [
                    await hasty.post("/events", json={"type": "during"}),
                    await hasty.post("/events", json=[{"type": "during"}]),
                    await hasty.post("/events", content=b'{"type": "during"}\n', headers=LINES),
                    await hasty.get("/events"),
                    await hasty.get(f"/events/{'0' * 32}"),
                    await hasty.post("/cc/debug/log", json={"event_type": "during"}),
                    await hasty.post("/cc/modules", json={"name": "during", "version": "1"}),
                    await hasty.get("/cc/modules"),
                    await hasty.get(f"/cc/modules/{module['id']}"),
                    await hasty.patch(f"/cc/modules/{module['id']}", json={"version": "2"}),
                    await hasty.delete(f"/cc/modules/{module['id']}"),
                ]
                alive = [await hasty.get(path) for path in ("/health", "/cc/status", "/cc/config")]
                ready = await hasty.get("/ready")
                health = await hasty.get("/cc/health/enhanced")
        finally:
            await servers.postgres.start()

        for answer in refused:
            assert problem(answer, 503, "Postgres")["type"] == "urn:cos:problem:postgres-unreachable"
            assert answer.headers["retry-after"] == "1"
        assert [answer.status_code for answer in alive] == [200, 200, 200]
        assert (ready.status_code, ready.json()["status"]) == (503, "down")
        assert any("Postgres" in cause for cause in ready.json()["causes"])
        assert (health.status_code, health.json()["status"]) == (200, "unhealthy")
        assert "request_failed" not in {entry["event"] for entry in logs}

        async def works_again():
            answer = await hasty.post("/cc/debug/log", json={"event_type": "after"})
            return answer.status_code == 201 and answer.json()["redis_validation"]["publish_success"]

        await eventually(works_again)
        assert (await hasty.get("/ready")).json() == {"status": "ok", "causes": []}
        assert [one["name"] for one in (await hasty.get("/cc/modules")).json()] == ["before"]
        kinds = [event["type"] for event in (await hasty.get("/events")).json()["events"]]
        assert kinds[:2] == ["before", "module.created"]
        assert set(kinds[2:]) <= {"during", "after"}
