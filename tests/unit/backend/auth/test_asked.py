"""What a request says of itself, at its edges."""

from __future__ import annotations

from typing import Any

import pytest

from cos.backend.auth.asked import Asked, Bounds
from cos.errors import BadRequest, HeadersTooLarge, UrlTooLong

_BOUNDS = Bounds(url_bytes=40, header_bytes=60, headers=3)


def _asked(*headers: tuple[bytes, bytes], query: bytes = b"", path: str = "/cc") -> Asked:
    scope: dict[str, Any] = {
        "path": path,
        "raw_path": path.encode(),
        "query_string": query,
        "headers": list(headers),
    }
    return Asked(scope, _BOUNDS)


@pytest.mark.parametrize(
    "headers",
    [
        [(b"content-length", b"-1")],
        [(b"content-length", b"1_0")],
        [(b"content-length", b"1"), (b"transfer-encoding", b"chunked")],
        [(b"host", b"a"), (b"host", b"a")],
    ],
)
def test_what_can_be_read_in_two_ways_is_refused(headers: list[tuple[bytes, bytes]]) -> None:
    """Lengths that are none, and a second header of a kind that decides."""
    with pytest.raises(BadRequest):
        _asked(*headers)


def test_bounds_hold_at_the_byte() -> None:
    """The last byte that fits is let through, the next one is not."""
    _asked((b"a", b"x" * 59), query=b"q" * 37)
    with pytest.raises(HeadersTooLarge):
        _asked((b"a", b"x" * 60))
    with pytest.raises(UrlTooLong):
        _asked(query=b"q" * 38)


def test_a_token_in_the_query_or_path_is_refused() -> None:
    """Wherever it stands in the address."""
    looks_like_one = "cos_0123456789abcdef_x"
    with pytest.raises(BadRequest, match="revoke"):
        _asked(query=f"t={looks_like_one}".encode())
    with pytest.raises(BadRequest, match="revoke"):
        _asked(path=f"/{looks_like_one}")


@pytest.mark.parametrize("name", [b"forwarded", b"x-forwarded-for", b"x-real-ip"])
def test_each_header_of_a_proxy_tells_of_it(name: bytes) -> None:
    """Any one of them is enough."""
    assert _asked((name, b"1")).is_proxied
    assert not _asked((b"accept", b"1")).is_proxied


def test_a_cookie_that_stands_there_twice_is_none() -> None:
    """Whose is meant cannot be told."""
    assert _asked((b"cookie", b"a=1; b=2")).cookie("a") == "1"
    assert _asked((b"cookie", b"a=1"), (b"cookie", b"a=2")).cookie("a") is None
