"""The edge: request ids in and out, foreign hosts and pages, unknown paths and methods."""

from __future__ import annotations

import uuid

import pytest


class TestRequestId:
    """`X-Request-ID` goes in and out, and is made when absent."""

    @pytest.mark.parametrize("path", ["/health", "/cc/status", "/events", "/nowhere", "/events/first"])
    async def test_it_is_given_back(self, steady, path) -> None:
        answer = await steady.get(path, headers={"X-Request-ID": "book-1:ch.2/x=@+"})
        assert answer.headers["x-request-id"] == "book-1:ch.2/x=@+"

    @pytest.mark.parametrize(
        "given", [None, "", "two words", "x" * 129, "-dash", "ä".encode("latin-1"), "a\tb"]
    )
    async def test_it_is_made(self, steady, given) -> None:
        """Absent, or not safe to log and to send back: a new UUID, another one each time."""
        headers = {} if given is None else {"X-Request-ID": given}
        made = [(await steady.get("/health", headers=headers)).headers["x-request-id"] for _ in range(2)]
        assert made[0] != made[1]
        assert [uuid.UUID(one).version for one in made] == [7, 7]

    async def test_the_longest(self, steady) -> None:
        answer = await steady.get("/health", headers={"X-Request-ID": "x" * 128})
        assert answer.headers["x-request-id"] == "x" * 128

    async def test_it_is_in_the_problem_and_the_record(self, client, problem) -> None:
        """The same id stands in the document, the header and what was recorded on the way."""
        headers = {"X-Request-ID": "req-1"}
        assert problem(await client.get("/nowhere", headers=headers), 404)["request_id"] == "req-1"
        await client.post("/cc/modules", json={"name": "m", "version": "1"}, headers=headers)
        assert (await client.get("/events")).json()["events"][0]["requestid"] == "req-1"


class TestForeign:
    """Other machines' names and other sites' pages are refused, whatever they ask for."""

    @pytest.mark.parametrize(
        "host",
        ["evil.example", "127.0.0.1.evil.example", "localhost@evil.example", "", "[::1", "10.0.0.1", "null"],
    )
    @pytest.mark.parametrize("path", ["/health", "/events", "/openapi.json", "/docs", "/nowhere"])
    async def test_a_foreign_host(self, steady, problem, host, path) -> None:
        """403 in words, request id included: DNS rebinding ends here."""
        problem(await steady.get(path, headers={"Host": host}), 403, "is not this machine")

    @pytest.mark.parametrize(
        "host", ["localhost", "LOCALHOST:8000", "127.0.0.1", "127.0.0.1:1", "[::1]:8000"]
    )
    async def test_a_local_host(self, steady, host) -> None:
        assert (await steady.get("/health", headers={"Host": host})).status_code == 200

    @pytest.mark.parametrize(
        "origin", ["https://evil.example", "null", "http://localhost.evil.example", "http://[", "x"]
    )
    async def test_a_foreign_page(self, steady, problem, pg, origin) -> None:
        """403, and nothing is recorded."""
        before = await pg.fetchval("SELECT count(*) FROM l1.record")
        answer = await steady.post("/events", json={"type": "from.a.page"}, headers={"Origin": origin})
        problem(answer, 403, "may not use this API")
        assert await pg.fetchval("SELECT count(*) FROM l1.record") == before

    @pytest.mark.parametrize(
        "origin", ["http://localhost:3000", "http://127.0.0.1:8000", "http://[::1]:5173"]
    )
    async def test_a_local_page(self, steady, origin) -> None:
        assert (await steady.get("/health", headers={"Origin": origin})).status_code == 200


class TestUnknown:
    """What is not there."""

    @pytest.mark.parametrize(
        "path", ["/nothing", "/nowhere", "/cc", "/cc/nowhere", "/cc/modules/a/b", "/EVENTS", "/%00"]
    )
    async def test_a_path(self, steady, problem, path) -> None:
        assert problem(await steady.get(path), 404)["type"] == "urn:cos:problem:not-found"

    @pytest.mark.parametrize(
        ("method", "path"),
        [
            ("PUT", "/events"),
            ("DELETE", "/events"),
            ("POST", "/health"),
            ("POST", "/ready"),
            ("GET", "/cc/debug/log"),
            ("PUT", "/cc/modules"),
            ("POST", "/cc/modules/x"),
            ("BREW", "/events"),
        ],
    )
    async def test_a_method(self, steady, problem, method, path) -> None:
        """405 names a method that is allowed."""
        answer = await steady.request(method, path)
        problem(answer, 405)
        assert answer.headers["allow"]
