"""What COS does while something it leans on is away: slower, never silent, and nothing lost."""

from __future__ import annotations

import os
import signal

import httpx


class TestRedisFailureScenarios:
    """A real Redis that is really stopped, killed and emptied, under a real API."""

    async def test_redis_connection_failure_graceful_degradation(
        self, servers, core, client: httpx.AsyncClient, stream_of, eventually
    ) -> None:
        """With Redis away, writes and reads go on and health says why; afterwards everything is announced once."""
        before = await client.post("/events", json={"type": "before", "data": {"n": 0}})
        assert before.status_code == 201

        await servers.redis.stop()
        try:
            during = [
                (await client.post("/events", json={"type": "during", "data": {"n": n}})).status_code
                for n in range(20)
            ]
            read = await client.get("/events")
            ready = await client.get("/ready")
            health = (await client.get("/cc/health/enhanced")).json()
            logged = await client.post("/cc/debug/log", json={"event_type": "debug.away"})
            module = await client.post("/cc/modules", json={"name": "while-away", "version": "1"})
        finally:
            await servers.redis.start()

        assert during == [201] * 20
        assert len(read.json()["events"]) == 21
        assert ready.status_code == 200
        assert ready.json()["status"] == "degraded"
        assert "Redis" in ready.json()["causes"][0]
        assert (health["status"], health["redis_connected"]) == ("degraded", False)
        assert logged.status_code == 201
        validation = logged.json()["redis_validation"]
        assert validation["publish_success"] is False
        assert validation["connection_status"] == "disconnected"
        assert module.status_code == 201

        async def caught_up():
            return len(await stream_of("cc")) == 23

        await eventually(caught_up)
        log = (await client.get("/events")).json()["events"]
        assert [event["id"] for _, event in await stream_of("cc")] == [event["id"] for event in log]
        assert (await client.get("/ready")).json() == {"status": "ok", "causes": []}

    async def test_redis_killed_in_the_middle_of_writing(
        self, servers, client: httpx.AsyncClient, stream_of, eventually
    ) -> None:
        """Redis dies by kill -9 between two events and comes back by itself: each event stands in the stream once."""
        for n in range(30):
            if n in {10, 20}:
                killed = servers.redis.pid
                os.kill(killed, signal.SIGKILL)
            answer = await client.post("/events", json={"type": "killed", "data": {"n": n}})
            assert answer.status_code == 201, answer.text
            if n in {10, 20}:

                async def is_back(gone: int = killed):
                    return servers.redis.state == "running" and servers.redis.pid not in {gone, None}

                await eventually(is_back)

        async def all_there():
            return len(await stream_of("cc")) == 30

        await eventually(all_there)
        assert [event["data"]["n"] for _, event in await stream_of("cc")] == list(range(30))

    async def test_an_emptied_redis_is_filled_again(
        self, core, client: httpx.AsyncClient, stream_of, eventually
    ) -> None:
        """Somebody runs FLUSHALL while nothing is written: the relay notices by itself and refills the stream."""
        for n in range(10):
            await client.post("/events", json={"type": "kept", "data": {"n": n}})

        async def ten():
            return len(await stream_of("cc")) == 10

        await eventually(ten)
        await core.redis.flushall()
        await eventually(ten)
        assert [event["data"]["n"] for _, event in await stream_of("cc")] == list(range(10))


class TestPostgresFailureScenarios:
    """Postgres is the truth: without it COS says so, and goes on by itself when it is back."""

    async def test_postgres_killed_in_the_middle_of_writing(
        self, servers, client: httpx.AsyncClient, stream_of, eventually
    ) -> None:
        """A write that was in flight is retried under its own id: 201 means there once, whatever was killed."""
        kept = []
        for n in range(12):
            if n == 6:
                os.kill(servers.postgres.pid, signal.SIGKILL)
            answer = await client.post("/events", json={"type": "killed", "data": {"n": n}})
            assert answer.status_code == 201, answer.text
            kept.append(answer.json()["id"])

        async def all_there():
            return len(await stream_of("cc")) == 12

        await eventually(all_there)
        assert [event["id"] for _, event in await stream_of("cc")] == kept
