"""Where a request comes from: hosts and pages, in every spelling that somebody could read in another way."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cos.backend.auth.asked import Asked, Bounds
from cos.backend.auth.origin import Origins, is_loopback
from cos.errors import Forbidden

_BOUNDS = Bounds(url_bytes=1000, header_bytes=100_000, headers=20)
_FOREIGN = ["http://evil.example", "https://evil.example", "null", "file://", "", "chrome-extension://abcdef"]
#: What is taken for this machine, said once more and in another way.
_OURS = re.compile(r"(localhost|127\.0\.0\.1|\[::1\])(:([0-9]{0,5}))?", re.ASCII | re.IGNORECASE)


def asked(method: str = "GET", *, scheme: str = "http", **headers: str) -> Asked:
    """A request with these headers; `_` in a name stands for `-`."""
    scope: dict[str, Any] = {
        "path": "/cc",
        "raw_path": b"/cc",
        "query_string": b"",
        "method": method,
        "scheme": scheme,
        "headers": [
            (name.replace("_", "-").encode(), value.encode("latin-1")) for name, value in headers.items()
        ],
    }
    return Asked(scope, _BOUNDS)


def passes(origins: Origins, given: Asked, *, websocket: bool = False) -> bool:
    refused = None
    try:
        origins.check(given, websocket=websocket)
    except Forbidden as error:
        refused = error.detail
    assert refused is None or (refused.isascii() and refused.isprintable() and len(refused) < 250)
    return refused is None


HERE = Origins()
THERE = Origins(names=frozenset({"localhost", "127.0.0.1", "::1", "0.0.0.0"}), addresses=True)  # noqa: S104  (read)
NAMED = Origins(names=frozenset({"localhost", "127.0.0.1", "::1", "cos.example.org"}))


class TestHost:
    @given(st.text(alphabet="localhost127.0:[]@/\\%? \t#;,evil.example-_", max_size=30))
    @example("localhost:00080")
    @example("127.0.0.1:65535")
    @example("127.0.0.1:65536")
    @example("[::1]:")
    @example("localhost:１")
    @example("[::1]evil.example")
    @example("[127.0.0.1]")
    @example("[localhost]")
    @example("[::1]]")
    @example("localhost:80:80")
    @example("127.0.0.1:80@evil.example")
    @example("\nlocalhost")
    @example("localhost\n")
    def test_only_this_machine_in_one_reading(self, host) -> None:
        """Whatever else stands around, before or within its name makes it another's."""
        host = host.encode("latin-1", "replace").decode("latin-1")
        found = _OURS.fullmatch(host)
        ours = found is not None and int(found[3] or 0) <= 65535
        assert passes(HERE, asked(host=host)) is ours

    def test_none(self) -> None:
        assert not passes(HERE, asked())
        assert not passes(THERE, asked())

    @pytest.mark.parametrize("host", ["", " ", ":8000", "[]", "[]:80", "-", ".", "a" * 90_000, "ÿ" * 90_000])
    def test_empty_and_huge(self, host) -> None:
        assert not passes(HERE, asked(host=host))
        assert not passes(NAMED, asked(host=host))

    @pytest.mark.parametrize(
        ("host", "fine"),
        [
            ("203.0.113.7", True),
            ("203.0.113.7:8000", True),
            ("[2001:db8::1]:8000", True),
            ("[2001:DB8:0:0::1]", True),
            ("[::ffff:203.0.113.7]", True),
            ("2001:db8::1", False),
            ("[2001:db8::1", False),
            ("[2001:db8::g]", False),
            ("[203.0.113.7]", False),
            ("203.0.113", False),
            ("203.0.113.7.", False),
            ("0313.0.0161.07", False),
            ("3405803783", False),
            ("cos.example.org", False),
            ("203.0.113.7.example.org", False),
        ],
    )
    def test_by_a_bare_address_where_it_listens_everywhere(self, host, fine) -> None:
        """No DNS can point an address elsewhere; a name must be known."""
        assert passes(THERE, asked(host=host)) is fine
        assert not passes(HERE, asked(host=host))

    @pytest.mark.parametrize(
        ("host", "fine"),
        [
            ("cos.example.org", True),
            ("COS.Example.ORG:443", True),
            ("cos.example.org.", False),
            ("cos.example.org.evil.example", False),
            ("xcos.example.org", False),
            ("cos.example.org:443:1", False),
            ("cos%2eexample.org", False),
            ("203.0.113.7", False),
        ],
    )
    def test_by_a_further_name(self, host, fine) -> None:
        assert passes(NAMED, asked(host=host)) is fine

    def test_the_sentence_says_what_helps(self) -> None:
        with pytest.raises(Forbidden, match="or localhost"):
            HERE.check(asked(host="evil.example"))
        with pytest.raises(Forbidden, match="COS_HOSTS"):
            THERE.check(asked(host="evil.example"))


class TestOrigin:
    @pytest.mark.parametrize("origin", _FOREIGN)
    @pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "DELETE"])
    def test_a_foreign_page_may_nothing(self, origin, method) -> None:
        assert not passes(HERE, asked(method, host="localhost", origin=origin))
        assert not passes(HERE, asked(method, host="localhost", origin=origin), websocket=True)

    @pytest.mark.parametrize(
        ("host", "origin", "scheme", "own"),
        [
            ("localhost:8000", "http://localhost:8000", "http", True),
            ("LOCALHOST:8000", "HTTP://localhost:8000", "http", True),
            ("[::1]:8000", "http://[::1]:8000", "http", True),
            ("localhost:8000", "https://localhost:8000", "https", True),
            ("localhost:8000", "https://localhost:8000", "wss", True),
            ("localhost:8000", "http://localhost:8000", "https", False),
            ("localhost:8000", "http://localhost", "http", False),
            ("localhost:8000", "http://127.0.0.1:8000", "http", False),
            ("localhost:8000", "http://localhost:8000/", "http", False),
            ("localhost:8000", "http://localhost:8000 ", "http", False),
            ("localhost:8000", " http://localhost:8000", "http", False),
            ("localhost:8000", "http://localhost:8000, http://evil.example", "http", False),
            ("localhost:8000", "//localhost:8000", "http", False),
            ("localhost:8000", "localhost:8000", "http", False),
        ],
    )
    def test_our_own_page_writes(self, host, origin, scheme, own) -> None:
        given = asked("POST", scheme=scheme, host=host, origin=origin)
        assert passes(HERE, given) is own
        assert passes(HERE, given, websocket=True) is own

    def test_a_page_from_another_port_of_this_machine_reads_and_no_more(self) -> None:
        """Its browser keeps the answer from it; nothing keeps a WebSocket from it."""
        headers = {"host": "localhost:8000", "origin": "http://localhost:5173"}
        assert passes(HERE, asked("GET", **headers))
        assert passes(HERE, asked("HEAD", **headers))
        assert not passes(HERE, asked("GET", **headers), websocket=True)
        for method in ("POST", "PUT", "PATCH", "DELETE", "get", "PROPFIND", ""):
            assert not passes(HERE, asked(method, **headers))
        with pytest.raises(Forbidden, match="add it to COS_ORIGINS"):
            HERE.check(asked("POST", **headers))

    def test_but_not_where_this_server_is_another_machine(self) -> None:
        """Loopback is then the browser's own machine, not ours."""
        elsewhere = Origins(names=frozenset({"cos.example.org"}))
        assert not passes(elsewhere, asked(host="cos.example.org", origin="http://localhost:5173"))

    def test_a_page_that_was_named_writes(self) -> None:
        origins = Origins(pages=frozenset({"http://localhost:5173"}))
        for origin, fine in (
            ("http://localhost:5173", True),
            ("HTTP://LocalHost:5173", True),
            ("https://localhost:5173", False),
            ("http://localhost:51730", False),
            ("http://localhost:5173.evil.example", False),
        ):
            given = asked("POST", host="localhost", origin=origin)
            assert passes(origins, given) is fine
            assert passes(origins, given, websocket=True) is fine


class TestFetch:
    @pytest.mark.parametrize("site", ["same-origin", "none", "same-site"])
    @pytest.mark.parametrize("method", ["GET", "POST"])
    def test_what_we_began(self, site, method) -> None:
        assert passes(HERE, asked(method, host="localhost", sec_fetch_site=site))

    @pytest.mark.parametrize("site", ["cross-site", "CROSS-SITE", "", "Same-Origin", "same-origin, none"])
    def test_what_another_site_began(self, site) -> None:
        for method in ("GET", "POST"):
            assert not passes(HERE, asked(method, host="localhost", sec_fetch_site=site))

    @pytest.mark.parametrize(
        ("method", "mode", "dest", "fine"),
        [
            ("GET", "navigate", "document", True),
            ("HEAD", "navigate", "document", True),
            ("POST", "navigate", "document", False),
            ("GET", "navigate", "iframe", False),
            ("GET", "no-cors", "image", False),
            ("GET", "cors", "empty", False),
            ("GET", "no-cors", "document", False),
            ("GET", "navigate, navigate", "document", False),
        ],
    )
    def test_a_person_may_follow_a_link(self, method, mode, dest, fine) -> None:
        headers = {"sec_fetch_site": "cross-site", "sec_fetch_mode": mode, "sec_fetch_dest": dest}
        assert passes(HERE, asked(method, host="localhost", **headers)) is fine

    def test_a_page_that_was_named_may_write_across_sites(self) -> None:
        origins = Origins(pages=frozenset({"https://author.example"}))
        headers = {"host": "localhost", "sec_fetch_site": "cross-site"}
        assert passes(origins, asked("POST", origin="https://author.example", **headers))
        assert not passes(origins, asked("POST", **headers))


class TestLoopback:
    @pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.255.255.254", "::1", "0:0:0:0:0:0:0:1"])
    def test_reached_from_this_machine_alone(self, host) -> None:
        assert is_loopback(host)

    @pytest.mark.parametrize(
        "host",
        [
            "0.0.0.0",  # noqa: S104  (read, not bound)
            "::",
            "128.0.0.1",
            "127.0.0.1.example.org",
            "localhost.",
            "LOCALHOST.example",
            "[::1]",
            "127.1",
            "",
            "127.0.0.1:80",
            " 127.0.0.1",
            "127.0.0.1\n",
            "١٢٧.0.0.1",
        ],
    )
    def test_or_perhaps_not(self, host) -> None:
        assert not is_loopback(host)
