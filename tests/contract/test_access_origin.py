"""Where a request comes from: names led here (DNS rebinding), pages of other sites, proxies."""

from __future__ import annotations

import pytest

HERE = "http://127.0.0.1:8000"
MODULE = {"name": "m", "version": "1"}


class TestHost:
    """On loopback, only this machine's own names are answered."""

    @pytest.mark.parametrize(
        "host",
        [
            "127.0.0.1",
            "127.0.0.1:8000",
            "localhost",
            "LOCALHOST:8000",
            "LocalHost",
            "[::1]",
            "[::1]:8000",
        ],
    )
    async def test_its_own_names(self, steady, host) -> None:
        assert (await steady.get("/cc/status", headers={"Host": host})).status_code == 200

    @pytest.mark.parametrize(
        "host",
        [
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "127.0.0.1.nip.io",
            "127.0.0.2",
            "0.0.0.0",  # noqa: S104  (asked for, not bound)
            "[::]",
            "[::ffff:127.0.0.1]",
            "2130706433",
            "0x7f000001",
            "017700000001",
            "127.1",
            "localhost.",
            "127.0.0.1.",
            "user@127.0.0.1",
            "127.0.0.1@evil.example",
            "127.0.0.1:8000@evil.example",
            "127.0.0.1:port",
            "127.0.0.1:99999",
            "127.0.0.1/evil.example",
            "127.0.0.1#evil.example",
            "127.0.0.1?evil.example",
            "127.0.0.1\\evil.example",
            "127.0.0.1 evil.example",
            "127.0.0.1,evil.example",
            "127.0.0.1\t:8000",
            "http://127.0.0.1",
            "[::1",
            "::1",
            "",
            "localhost%2eevil.example",
            "ｌocalhost".encode(),
        ],
    )
    async def test_any_other_spelling(self, steady, problem, host) -> None:
        """What could be read in two ways is refused, not guessed at."""
        problem(await steady.get("/cc/status", headers={"Host": host}), 403, "is not this machine")

    async def test_two_hosts(self, steady, problem) -> None:
        """A proxy may believe the first, a server the last: neither is taken."""
        headers = [("Host", "127.0.0.1:8000"), ("Host", "evil.example")]
        problem(await steady.get("/cc/status", headers=headers), 400, "twice")

    async def test_a_forwarded_host_means_nothing(self, steady, problem) -> None:
        headers = {"Host": "evil.example", "X-Forwarded-Host": "127.0.0.1"}
        problem(await steady.get("/cc/status", headers=headers), 403, "is not this machine")


class TestOrigin:
    """A page of another site may not write, and reads nothing."""

    @pytest.mark.parametrize(
        "origin",
        [
            "null",
            "http://evil.example",
            "https://127.0.0.1:8000",
            "http://127.0.0.1:8000.evil.example",
            "http://127.0.0.1:8000@evil.example",
            "http://evil.example@127.0.0.1:8000",
            "http://127.0.0.1:8001",
            "http://localhost:8000",
            "file://",
            "",
        ],
    )
    async def test_another_page_does_not_write(self, client, problem, origin) -> None:
        """Nor does what it sends leave anything behind."""
        problem(await client.post("/cc/modules", json=MODULE, headers={"Origin": origin}), 403, "may not use")
        assert (await client.get("/cc/modules")).json() == []

    @pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "PROPFIND"])
    async def test_whatever_the_method(self, steady, problem, method) -> None:
        answer = await steady.request(method, "/cc/modules", headers={"Origin": "http://evil.example"})
        problem(answer, 403, "may not use this API")

    async def test_our_own_page_writes(self, client) -> None:
        answer = await client.post("/cc/modules", json=MODULE, headers={"Origin": HERE})
        assert answer.status_code == 201

    @pytest.mark.parametrize("site", ["cross-site", "something-new"])
    async def test_what_another_site_began(self, client, problem, site) -> None:
        """`Sec-Fetch-Site` tells it, also where there is no `Origin` (an image, a script, a form that reads)."""
        headers = {"Sec-Fetch-Site": site}
        problem(await client.get("/events", headers=headers), 403, "Another site")
        problem(await client.post("/cc/modules", json=MODULE, headers=headers), 403, "Another site")

    async def test_a_link_may_be_followed_but_not_framed(self, steady, problem) -> None:
        followed = {
            "Sec-Fetch-Site": "cross-site",
            "Sec-Fetch-Mode": "navigate",
            "Sec-Fetch-Dest": "document",
        }
        assert (await steady.get("/", headers=followed)).status_code == 200
        problem(await steady.get("/", headers=followed | {"Sec-Fetch-Dest": "iframe"}), 403, "Another site")
        problem(await steady.post("/events", headers=followed), 403, "Another site")

    @pytest.mark.parametrize("site", ["same-origin", "none"])
    async def test_what_we_or_the_person_began(self, steady, site) -> None:
        assert (await steady.get("/events", headers={"Sec-Fetch-Site": site})).status_code == 200

    async def test_nobody_else_is_let_read(self, steady) -> None:
        """No answer carries a header that would let another page read it."""
        answer = await steady.get("/events", headers={"Origin": "http://localhost:5173"})
        assert not [name for name in answer.headers if name.startswith("access-control-")]
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"


class TestProxy:
    """Where no token is asked for, what a proxy brings from elsewhere is refused."""

    @pytest.mark.parametrize(
        "header",
        [
            {"X-Forwarded-For": "203.0.113.7"},
            {"X-Forwarded-For": "127.0.0.1, 203.0.113.7"},
            {"X-Forwarded-For": ""},
            {"X-Real-IP": "203.0.113.7"},
            {"Forwarded": "for=127.0.0.1"},
        ],
    )
    async def test_a_forwarded_request(self, steady, problem, header) -> None:
        problem(await steady.get("/cc/status", headers=header), 403, "COS_REQUIRE_TOKEN")

    async def test_one_of_this_machine(self, steady) -> None:
        answer = await steady.get("/cc/status", headers={"X-Forwarded-For": "127.0.0.1"})
        assert answer.status_code == 200

    async def test_no_token_is_saved_by_naming_an_address(self, guarded, problem) -> None:
        """Who calls from elsewhere does not become this machine by saying so."""
        for header in ("X-Forwarded-For", "X-Real-IP", "Forwarded", "X-Client-IP", "True-Client-IP"):
            problem(await guarded.http.get("/cc/status", headers={header: "127.0.0.1"}), 401)
        problem(await guarded.http.get("/cc/status", headers={"Host": "127.0.0.1"}), 401)


class TestHeaders:
    """What every answer tells a browser."""

    @pytest.mark.parametrize(
        "path", ["/", "/cc/status", "/nowhere", "/ui/static/page.css", "/openapi.json", "/sign-in"]
    )
    async def test_each_answer_is_locked_down(self, steady, path) -> None:
        answer = await steady.get(path)
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["x-frame-options"] == "DENY"
        assert "server" not in answer.headers

    async def test_a_refusal_too(self, steady) -> None:
        answer = await steady.get("/", headers={"Host": "evil.example"})
        assert "default-src 'none'" in answer.headers["content-security-policy"]
