"""Limits: how much, how often and how long; and streams that end when their token does."""

from __future__ import annotations

import asyncio
import dataclasses
import json

import httpx
import pytest

from cos.backend.app import create_app, with_edge
from cos.backend.auth import answer as answers
from cos.backend.auth import secret
from cos.config import load_settings
from cos.runtime.connection import ConnectionLimits
from cos.runtime.server import ApiServer, bind


class TestHead:
    """The head of a request, before anything else is read."""

    async def test_too_long_an_address(self, steady, problem) -> None:
        problem(await steady.get("/events?type=" + "x" * 9000), 414)

    async def test_too_large_and_too_many_headers(self, steady, problem) -> None:
        problem(await steady.get("/events", headers={"X-Much": "x" * 40_000}), 431)
        problem(await steady.get("/events", headers=[("X-Many", "x")] * 150), 431)

    @pytest.mark.parametrize(
        "headers",
        [
            [("Content-Length", "2"), ("Content-Length", "3")],
            [("Content-Length", "2"), ("Transfer-Encoding", "chunked")],
            [("Content-Length", "+2")],
            [("Content-Length", "-2")],
            [("Content-Length", "0x2")],
            [("Transfer-Encoding", "chunked"), ("Transfer-Encoding", "identity")],
            [("Content-Type", "application/json"), ("Content-Type", "application/x-ndjson")],
            [("Sec-Fetch-Site", "same-origin"), ("Sec-Fetch-Site", "cross-site")],
            [("Origin", "http://127.0.0.1:8000"), ("Origin", "http://evil.example")],
        ],
    )
    async def test_what_can_be_read_in_two_ways(self, steady, problem, headers) -> None:
        """A proxy in front may read it the other way: neither reading is taken."""
        request = steady.build_request("POST", "/events", content=b"{}")
        names = {name.lower() for name, _ in headers}
        kept = [(name, value) for name, value in request.headers.multi_items() if name not in names]
        if "transfer-encoding" in names:
            kept = [one for one in kept if one[0] != "content-length" or "content-length" in names]
        request.headers = httpx.Headers([*kept, *headers])
        problem(await steady.send(request), 400)

    async def test_a_declared_body_that_is_too_large(self, narrow, problem) -> None:
        """Refused by its Content-Length, before any of it is read."""
        problem(
            await narrow.post("/events", content=b"x" * 3000, headers={"Content-Type": "application/json"}),
            413,
        )


class TestRates:
    """How often one token or address may ask."""

    @pytest.fixture
    async def limited(self, core):
        settings = load_settings(
            data_dir=core.settings.data_dir, hosts="cos.example.org", rate_per_second=1, rate_burst=5
        )
        app = with_edge(create_app(dataclasses.replace(core.services(), settings=settings)))

        def of(address: str) -> httpx.AsyncClient:
            transport = httpx.ASGITransport(app=app, raise_app_exceptions=False, client=(address, 4000))
            return httpx.AsyncClient(transport=transport, base_url="http://cos.example.org")

        return of

    async def test_more_than_the_rate(self, limited, problem) -> None:
        """429 with when to come back; another address is not held up."""
        answers = [await limited("203.0.113.1").get("/health") for _ in range(8)]
        late = [answer for answer in answers if answer.status_code != 200]
        assert len(answers) - len(late) in {5, 6}
        for answer in late:
            problem(answer, 429, "requests a second")
            assert int(answer.headers["retry-after"]) >= 1
        assert (await limited("203.0.113.2").get("/health")).status_code == 200

    async def test_guessing_tokens(self, guarded, problem) -> None:
        """After some wrong ones their address waits; a token that is in use goes on."""
        token = await guarded.token("read")
        assert (await guarded.http.get("/cc/status", headers=guarded.bearer(token))).status_code == 200
        seen = []
        for _ in range(40):
            wrong = guarded.bearer(secret.new_token().text)
            seen.append((await guarded.http.get("/cc/status", headers=wrong)).status_code)
        assert seen[:20] == [401] * 20
        assert 429 in seen[20:]

    async def test_guessing_at_the_sign_in(self, guarded) -> None:
        """The form is no way round."""
        seen = [(await guarded.sign_in(secret.new_token().text)).status_code for _ in range(40)]
        assert seen[:20] == [401] * 20
        assert 429 in seen[20:]


class TestStreams:
    """Server-sent events are judged like all else, and while they last."""

    async def test_nobody_follows(self, guarded, problem) -> None:
        problem(await guarded.http.get("/events/stream"), 401)

    async def test_a_stream_ends_when_its_token_is_revoked(self, core, guarded, monkeypatch) -> None:
        """Not only the next request: what flows already stops."""
        monkeypatch.setattr(answers, "JUDGE_AGAIN_SECONDS", 0.0)
        settings = load_settings(data_dir=core.settings.data_dir, require_token=True)
        app = with_edge(create_app(dataclasses.replace(core.services(), settings=settings)))
        server = ApiServer(app=app, listener=bind(0), stop_timeout_seconds=2)
        await server.start()
        admin, token = guarded.bearer(await guarded.token()), await guarded.token("read", "e")
        async with httpx.AsyncClient(base_url=server.url, trust_env=False, timeout=20) as client:
            async with client.stream("GET", "/events/stream", headers=guarded.bearer(token)) as stream:
                assert stream.status_code == 200
                assert (await client.delete("/cc/tokens/e", headers=admin)).status_code == 200
                await client.post("/events", json={"type": "a.secret"}, headers=admin)
                heard = "".join([text async for text in stream.aiter_text()])
            assert "a.secret" not in heard
        await server.stop()


class TestConnections:
    """A connection that is slow, or never ends its head."""

    @pytest.fixture
    async def impatient(self, core):
        limits = ConnectionLimits(head_bytes=2000, head_seconds=0.2, body_seconds=0.2)
        app = with_edge(create_app(core.services()))
        server = ApiServer(app=app, listener=bind(0), stop_timeout_seconds=2, limits=limits)
        await server.start()
        yield server.url.removeprefix("http://127.0.0.1:")
        await server.stop()

    @pytest.mark.parametrize(
        ("sent", "status"),
        [
            (b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: ", 408),
            (b"", 408),
            (b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n" + b"X: y\r\n" * 600, 431),
            (b"POST /cc/ping HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 9\r\n\r\n{", 408),
            (b"POST /nowhere HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 9\r\n\r\n{", 404),
        ],
        ids=["half a head", "nothing", "a head without end", "half a body", "half a body that nobody wants"],
    )
    async def test_it_is_ended_with_a_reason(self, impatient, sent, status) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(impatient))
        writer.write(sent)
        async with asyncio.timeout(20):
            said = await reader.read()
        writer.close()
        head, _, body = said.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 %d" % status), said
        assert json.loads(body)["status"] == status
