"""What is added to an answer, and what a route has set itself."""

from __future__ import annotations

from typing import Any

import pytest

from cos.backend.auth.headers import secure


def _secured(*own: tuple[bytes, bytes], https: bool = False) -> list[tuple[bytes, bytes]]:
    message: dict[str, Any] = {"type": "http.response.start", "status": 200, "headers": list(own)}
    secure(message, https=https)
    return list(message["headers"])


def test_what_the_route_set_stays_and_stands_there_once() -> None:
    """A route's own cache-control is not doubled, and the rest is still added."""
    got = _secured((b"cache-control", b"max-age=60"), https=True)
    assert [value for name, value in got if name == b"cache-control"] == [b"max-age=60"]
    assert {b"x-frame-options", b"content-security-policy", b"strict-transport-security"} <= dict(got).keys()


@pytest.mark.parametrize(
    ("kind", "runs"), [(b"text/html; charset=utf-8", True), (b"application/json", False)]
)
def test_only_a_page_may_run_scripts(kind: bytes, *, runs: bool) -> None:
    """The policy of a page lets our own scripts run; that of data lets none."""
    got = dict(_secured((b"content-type", kind)))
    assert (b"script-src 'self'" in got[b"content-security-policy"]) is runs
    assert got[b"cache-control"] == b"no-store"


def test_tls_is_only_promised_over_tls() -> None:
    """Over plain HTTP, strict-transport-security would be ignored, and misleads."""
    assert b"strict-transport-security" not in dict(_secured())
    assert b"strict-transport-security" in dict(_secured(https=True))
