"""Health, pings and metrics over HTTP: everything measured, nothing made up."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families

from cos.backend.cc.health import Keeper


@pytest.fixture
async def empty(steady, pg):
    await pg.execute("TRUNCATE cc.health, cc.module")
    return steady


async def register(client, name: str) -> dict:
    return (await client.post("/cc/modules", json={"name": name, "version": "1"})).json()


class TestRecords:
    async def test_before_the_first_there_is_none(self, empty, problem) -> None:
        assert problem(await empty.get("/cc/health"), 404)["detail"] == "no health record yet"

    async def test_cos_writes_of_itself(self, empty, core) -> None:
        await Keeper(sessions=core.sessions, monitor=core.monitor).turn()
        record = (await empty.get("/cc/health")).json()
        assert (record["module"], record["status"]) == ("cc", "healthy")
        assert record["details"]["parts"]["postgres"] == "ok"
        whole = (await empty.get("/cc/system/health")).json()
        assert whole["overall_status"] == "healthy"
        assert [one["module"] for one in whole["modules"]] == ["cc"]

    async def test_a_heartbeat_makes_a_module_active_and_its_status_real(self, empty, core) -> None:
        await Keeper(sessions=core.sessions, monitor=core.monitor).turn()
        module = await register(empty, "editor")
        assert module["last_active"] is None
        beat = f"/cc/modules/{module['id']}/heartbeat"
        told = (await empty.post(beat, json={"status": "degraded", "details": {"open": 3}})).json()
        assert (told["module"], told["status"], told["details"]) == ("editor", "degraded", {"open": 3})
        assert (await empty.get(f"/cc/modules/{module['id']}")).json()["last_active"] is not None
        whole = (await empty.get("/cc/system/health")).json()
        assert whole["overall_status"] == "degraded"

    async def test_a_module_that_fell_silent_is_offline(self, empty, pg) -> None:
        module = await register(empty, "editor")
        await empty.post(f"/cc/modules/{module['id']}/heartbeat", json={})
        await pg.execute("UPDATE cc.health SET last_updated = now() - interval '91 seconds'")
        assert (await empty.get("/cc/system/health")).json()["modules"][0]["status"] == "offline"

    async def test_nobody_beats_for_a_module_that_is_not_there(self, empty, problem) -> None:
        problem(await empty.post("/cc/modules/nobody/heartbeat", json={}), 404)


class TestPing:
    async def ping(self, client, module: str) -> dict:
        return (await client.post("/cc/ping", json={"module": module})).json()

    async def test_a_part_of_cos_makes_a_round_trip_to_its_servers(self, empty) -> None:
        answer = await self.ping(empty, "cc")
        assert (answer["module"], answer["status"]) == ("cc", "healthy")

    async def test_a_module_that_answers_is_healthy(self, empty, core) -> None:
        await register(empty, "editor")
        async with core.redis.pubsub(ignore_subscribe_messages=True) as channel:
            await channel.subscribe("mem0.ping.editor")

            async def answer() -> None:
                while (said := await channel.get_message(timeout=5)) is None:
                    pass
                asked = msgspec.json.decode(said["data"])
                await core.redis.rpush(asked["reply_to"], asked["id"])

            answering = asyncio.create_task(answer())
            assert (await self.ping(empty, "editor"))["status"] == "healthy"
            await answering

    async def test_a_silent_one_is_offline_and_one_that_only_beats_is_degraded(self, empty) -> None:
        module = await register(empty, "editor")
        assert (await self.ping(empty, "editor"))["status"] == "offline"
        await empty.post(f"/cc/modules/{module['id']}/heartbeat", json={})
        assert (await self.ping(empty, "editor"))["status"] == "degraded"

    async def test_one_that_is_not_registered_is_unknown(self, empty, problem) -> None:
        assert (await self.ping(empty, "nobody"))["status"] == "unknown"
        problem(await empty.post("/cc/ping", json={"module": ""}), 422)


class TestRedisHealth:
    async def test_it_is_measured(self, empty) -> None:
        told = (await empty.get("/cc/debug/redis-health")).json()
        assert (told["status"], told["error"]) == ("healthy", None)
        assert told["performance_metrics"]["ping_latency_ms"] > 0
        assert told["redis_info"]["redis_version"].startswith("6.")
        assert told["connection_pool"]["max_connections"] > 0
        assert told["circuit_breaker"]["state"] == "CLOSED"


class TestMetrics:
    async def families(self, client, path: str) -> dict:
        answer = await client.get(path)
        assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
        return {one.name: one for one in text_string_to_metric_families(answer.text)}

    @pytest.mark.parametrize("path", ["/metrics", "/cc/metrics"])
    async def test_what_existing_clients_read_is_there_each_time(self, empty, core, path) -> None:
        await core.monitor.measure()
        for _ in range(2):
            found = await self.families(empty, path)
            assert {
                "circuit_breaker_state", "circuit_breaker_failures", "dlq_size", "service_uptime_seconds",
                "redis_connected", "subscriber_inflight_messages",
            } <= set(found)  # fmt: skip
        assert found["redis_connected"].samples[0].value == 1

    async def test_requests_are_counted_by_route_and_not_by_address(self, empty) -> None:
        for number in range(3):
            await empty.get(f"/cc/modules/none-{number}")
        found = await self.families(empty, "/metrics")
        counts = {tuple(one.labels.values()): one.value for one in found["cos_http_requests"].samples}
        assert counts["GET", "/cc/modules/{module_id}", "404"] >= 3
        assert not [labels for labels in counts if "none-0" in str(labels)]

    async def test_every_metric_is_documented(self, empty, core) -> None:
        """And nothing is documented that is never given, but for what depends on the moment."""
        await core.monitor.measure()
        text = (Path(__file__).parents[2] / "docs/metrics.md").read_text()
        answer = (await empty.get("/metrics")).text
        given = set(re.findall(r"^# TYPE (\w+)", answer, re.MULTILINE))
        assert [name for name in given if f"`{name}`" not in text] == []
