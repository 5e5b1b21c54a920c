"""The webhooks' API: its shapes, its refusals, its events; what is delivered is in tests/integration/webhooks."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import partial
from typing import Any

import asyncpg
import httpx
import pytest

URL = "https://203.0.113.7/hook"
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"  # noqa: S105  (of the standard's example)


@pytest.fixture
async def core(core: Any) -> Any:
    """Nobody here is to be called: the addresses lead nowhere."""
    core.webhooks.outbound._allowance = type(core.webhooks.outbound._allowance).parse("203.0.113.0/24")
    return core


@pytest.fixture
def create(client: httpx.AsyncClient) -> Callable[..., Any]:
    async def post(**more: Any) -> dict[str, Any]:
        # Nothing is recorded in this module, so nothing is ever sent.
        made = await client.post("/cc/webhooks", json={"url": URL, "modules": ["none"]} | more)
        assert made.status_code == 201, made.text
        return made.json()

    return post


@pytest.fixture
def acts(pg: asyncpg.Connection) -> Callable[..., Any]:
    async def read() -> list[tuple[str, str]]:
        rows = await pg.fetch("SELECT type, subject FROM l1.record WHERE module = 'cc' ORDER BY xact, seq")
        return [(row["type"], row["subject"]) for row in rows]

    return read


class TestCrud:
    async def test_created_shown_listed_changed_deleted(self, client, create, acts, problem) -> None:
        """Each change is an event of the module cc; no answer but the first holds the secret."""
        made = await create(description="mine", types=["b", "a*"], subjects=["s"])
        assert re.fullmatch(r"whsec_[A-Za-z0-9+/]{43}=", made["secret"])
        assert (made["state"], made["types"], made["delivered"]) == ("active", ["a*", "b"], 0)
        path = f"/cc/webhooks/{made['id']}"
        secret = made.pop("secret")
        assert (await client.get(path)).json() == made
        changed = (await client.patch(path, json={"types": [], "description": "ours"})).json()
        assert (changed["types"], changed["subjects"], changed["description"]) == ([], ["s"], "ours")
        other = await create()
        page = (await client.get("/cc/webhooks", params={"limit": 1})).json()
        rest = (await client.get("/cc/webhooks", params={"before": page["next"]})).json()
        assert [one["id"] for one in page["webhooks"] + rest["webhooks"]] == [other["id"], made["id"]]
        assert rest["next"] is None
        assert (await client.delete(path)).json()["id"] == made["id"]
        problem(await client.get(path), 404, made["id"])
        problem(await client.delete(path), 404)
        assert await acts() == [
            ("webhook.created", made["id"]),
            ("webhook.changed", made["id"]),
            ("webhook.created", other["id"]),
            ("webhook.deleted", made["id"]),
        ]
        assert secret

    async def test_states(self, client, create, acts, problem) -> None:
        made = await create()
        path = f"/cc/webhooks/{made['id']}"
        problem(await client.post(f"{path}/resume"), 409, "is active, not paused")
        problem(await client.post(f"{path}/enable", json={"begin": "now"}), 409, "is active, not disabled")
        paused = (await client.post(f"{path}/pause", json={"reason": "holidays"})).json()
        assert (paused["state"], paused["reason"]) == ("paused", "holidays")
        problem(await client.post(f"{path}/pause"), 409, "paused already")
        for state, count in {"paused": 1, "active": 0, "failing": 0, "disabled": 0}.items():
            found = (await client.get("/cc/webhooks", params={"state": state})).json()["webhooks"]
            assert len(found) == count
        resumed = (await client.post(f"{path}/resume")).json()
        assert (resumed["state"], resumed["reason"]) == ("active", None)
        assert [kind for kind, _ in await acts()] == ["webhook.created", "webhook.paused", "webhook.resumed"]

    async def test_resumed_from_now_skips_and_from_where_it_stood_does_not(
        self, client, create, core, eventually
    ) -> None:
        """Its position tells."""
        made = await create()
        path = f"/cc/webhooks/{made['id']}"
        stood = (await client.post(f"{path}/pause")).json()["position"]
        assert (await client.post(f"{path}/resume")).json()["position"] == stood
        await client.post(f"{path}/pause")
        event = (await client.post("/events", json={"type": "a"})).json()

        async def settled() -> bool:
            found = (await client.post(f"{path}/resume", json={"begin": "now"})).json()
            await client.post(f"{path}/pause")
            return found.get("position", "0-0") >= event["position"]

        await eventually(settled)


class TestSecrets:
    async def test_exchanged_with_an_overlap(self, client, create, pg, problem) -> None:
        """Two sign until the overlap is over; more than five at once are refused."""
        made = await create(secret=SECRET)
        assert made["secret"] == SECRET
        path = f"/cc/webhooks/{made['id']}/rotate"
        new = (await client.post(path, json={"overlap_seconds": 60})).json()["secret"]
        rows = await pg.fetch("SELECT secret, expires_at FROM webhook.secret ORDER BY id")
        assert [row["secret"] for row in rows] == [SECRET, new]
        assert rows[0]["expires_at"] is not None
        assert rows[1]["expires_at"] is None
        for _ in range(3):
            await client.post(path)
        problem(await client.post(path), 409, "5 secrets")
        ended = await client.post(path, json={"overlap_seconds": 0, "secret": SECRET})
        problem(ended, 409)

    async def test_without_an_overlap_the_old_one_ends_at_once(self, client, create, pg) -> None:
        made = await create()
        path = f"/cc/webhooks/{made['id']}/rotate"
        for _ in range(7):
            assert (await client.post(path, json={"overlap_seconds": 0})).status_code == 200
        assert (
            await pg.fetchval("SELECT count(*) FROM webhook.secret") == 2
        )  # the last one that ended is still there

    async def test_they_stand_nowhere_else(self, client, create, pg, capsys) -> None:
        """Not in the log, not in an answer, not in a log line, not in an error."""
        made = await create(secret=SECRET)
        path = f"/cc/webhooks/{made['id']}"
        new = (await client.post(f"{path}/rotate")).json()["secret"]
        answers = [
            await client.get(path),
            await client.get("/cc/webhooks"),
            await client.get(f"{path}/attempts"),
        ]
        answers += [await client.post(f"{path}/pause"), await client.patch(path, json={"description": "x"})]
        bad = "whsec_bm8gc2VjcmV0"
        answers += [
            await client.post("/cc/webhooks", json={"url": URL, "secret": bad}),
            await client.post("/cc/webhooks", json={"url": URL, "secret": bad * 30}),
            await client.post(f"{path}/rotate", json={"secret": bad}),
            await client.delete(path),
        ]
        log = await pg.fetch("SELECT data::text FROM l1.record")
        said = "".join([*(one.text for one in answers), *(row[0] for row in log), *capsys.readouterr()])
        for secret in (SECRET, new, bad):
            assert secret.removeprefix("whsec_") not in said
        assert [one.status_code for one in answers[5:8]] == [422] * 3
        assert await pg.fetchval("SELECT count(*) FROM webhook.secret") == 0


class TestRefused:
    @pytest.mark.parametrize(
        ("url", "status"),
        [
            *(
                (url, 422)
                for url in (
                    "ftp://a.example/",
                    "https://u:p@a.example/",
                    "http://0x7f.1/",
                    "http://2130706433/",
                )
            ),
            *(
                (url, 422)
                for url in ("http://0177.0.0.1/", "https://a.example:6379/", "nonsense", "https://a b/", "")
            ),
            *(
                (f"http://{host}/", 403)
                for host in ("127.0.0.1", "10.1.2.3", "169.254.169.254", "[::1]", "localhost")
            ),
            *(
                (f"http://{host}/", 403)
                for host in ("[::ffff:10.0.0.1]", "[64:ff9b::a00:1]", "[fd00::1]", "192.168.0.1")
            ),
        ],
    )
    async def test_urls_that_must_not_be_called(self, client, problem, pg, url, status) -> None:
        refused = await client.post("/cc/webhooks", json={"url": url})
        problem(refused, status)
        assert await pg.fetchval("SELECT count(*) FROM webhook.endpoint") == 0

    async def test_our_own_api_even_where_loopback_is_allowed(self, client, core, problem) -> None:
        core.webhooks.outbound._allowance = type(core.webhooks.outbound._allowance).parse("127.0.0.0/8,::1")
        core.webhooks.outbound.own_ports.add(8123)
        for host in ("127.0.0.1", "127.0.0.2", "[::1]", "localhost"):
            refused = await client.post("/cc/webhooks", json={"url": f"http://{host}:8123/events"})
            problem(refused, 403, "COS's own API")

    async def test_a_change_to_such_a_url(self, client, create, problem) -> None:
        made = await create()
        problem(await client.patch(f"/cc/webhooks/{made['id']}", json={"url": "http://127.0.0.1/"}), 403)
        assert (await client.get(f"/cc/webhooks/{made['id']}")).json()["url"] == URL

    @pytest.mark.parametrize(
        "body",
        [
            {},
            {"url": None},
            {"url": URL, "types": ["a"] * 51},
            {"url": URL, "types": "a"},
            {"url": URL, "modules": ["\x00"]},
            {"url": URL, "after": "yesterday"},
            {"url": URL, "after": "999999999999-1"},
            {"url": URL, "state": "active"},
            {"url": URL, "description": "\ud800"},
            {"url": "https://a.example/" + "a" * 2000},
            [],
            "x",
        ],
    )
    async def test_bodies_that_are_not_right(self, client, problem, body) -> None:
        answer = await client.post(
            "/cc/webhooks", content=json.dumps(body), headers={"content-type": "application/json"}
        )
        problem(answer, answer.status_code)
        assert answer.status_code in (409, 422)

    async def test_a_patch_with_null(self, client, create, problem) -> None:
        made = await create()
        problem(
            await client.patch(f"/cc/webhooks/{made['id']}", json={"url": None}), 422, "url cannot be null"
        )
        for act in ("pause", "resume", "enable", "rotate", "test"):
            nowhere = await client.post(f"/cc/webhooks/01900000-0000-7000-8000-000000000000/{act}")
            problem(nowhere, 404)
        problem(await client.get("/cc/webhooks/01900000-0000-7000-8000-000000000000/attempts"), 404)

    async def test_too_many(self, client, create, problem, monkeypatch) -> None:
        monkeypatch.setattr("cos.memory.webhooks.endpoints.MOST_ENDPOINTS", 2)
        await create()
        await create()
        problem(await client.post("/cc/webhooks", json={"url": URL}), 409, "2 webhooks")


class TestHealth:
    async def test_a_disabled_one_is_a_cause(self, client, create, pg, eventually) -> None:
        """Degraded, with its reason; a paused one is not."""

        async def ready(status: str):  # a measurement that had begun before is shared
            answer = await client.get("/ready")
            return answer if answer.json()["status"] == status else None

        made = await create()
        await pg.execute("UPDATE webhook.endpoint SET state = 'disabled', reason = 'It answered 410 Gone.'")
        answer = await eventually(partial(ready, "degraded"))
        assert answer.status_code == 200
        [cause] = answer.json()["causes"]
        assert cause == f"The webhook {made['id']} to {URL} is disabled: It answered 410 Gone."
        metrics = (await client.get("/metrics")).text
        assert "\ncos_webhooks_disabled 1.0\n" in metrics
        await pg.execute("UPDATE webhook.endpoint SET state = 'paused'")
        assert (await eventually(partial(ready, "ok"))).json() == {"status": "ok", "causes": []}

    async def test_one_that_fails_for_long_is_a_cause(self, client, create, pg, eventually) -> None:
        await create(url=f"{URL}?token=geheim")
        await pg.execute(
            "UPDATE webhook.endpoint SET failing_since = now() - interval '10 minutes', error = 'It broke.'"
        )
        assert (await client.get("/ready")).json()["status"] == "ok"
        await pg.execute("UPDATE webhook.endpoint SET failing_since = now() - interval '20 minutes'")

        async def causes():
            return (await client.get("/ready")).json()["causes"]

        [cause] = await eventually(causes)
        assert cause.endswith("has failed for long: It broke.")
        assert "geheim" not in cause
