"""What a request says of itself, read once from its headers; raises for what could be read in two ways."""

from __future__ import annotations

import re
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from typing import Any

from cos.backend.auth.secret import TOKEN_IN_URL
from cos.errors import BadRequest, HeadersTooLarge, UrlTooLong

#: Headers that decide something here; a second one of a kind would be read differently by a proxy and by us.
_ONCE = frozenset(
    {
        b"authorization",
        b"content-length",
        b"content-type",
        b"host",
        b"origin",
        b"sec-fetch-dest",
        b"sec-fetch-mode",
        b"sec-fetch-site",
        b"transfer-encoding",
        b"x-csrf-token",
    }
)
_MANY = frozenset({b"accept", b"cookie", b"forwarded", b"x-forwarded-for", b"x-real-ip"})
_WANTED = _ONCE | _MANY
_OF_PROXIES = frozenset({b"forwarded", b"x-forwarded-for", b"x-real-ip"})
_DIGITS = re.compile(rb"[0-9]{1,18}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """How large the head of a request may be.

    Attributes:
        url_bytes: path and query.
        header_bytes: names and values of all headers.
        headers: how many.
    """

    url_bytes: int
    header_bytes: int
    headers: int


class Asked:
    """The headers that decide who may do what, each at most once."""

    __slots__ = ("_headers", "length", "method", "path", "scheme")

    def __init__(self, scope: dict[str, Any] | Any, bounds: Bounds) -> None:
        """Read them.

        Raises:
            UrlTooLong, HeadersTooLarge: the head is over a bound.
            BadRequest: it can be understood in two ways, or carries a token in its address.
        """
        query: bytes = scope["query_string"]
        raw_path: bytes = scope.get("raw_path") or b""
        if len(raw_path) + len(query) > bounds.url_bytes:
            raise UrlTooLong(f"The address is longer than {bounds.url_bytes} bytes; send less in its query.")
        if (query and TOKEN_IN_URL.search(query)) or TOKEN_IN_URL.search(raw_path):
            raise BadRequest(
                "A token stands in the address, where logs keep it: revoke it (cos token revoke), and send "
                "the next one as a header, Authorization: Bearer …"
            )
        self.method: str = scope.get("method", "GET")
        self.path: str = scope["path"]
        self.scheme: str = scope.get("scheme", "http")
        self._headers = _read(scope["headers"], bounds)
        self.length = _length(self._headers)

    def get(self, name: bytes) -> str | None:
        """Give a header as text, None when it is absent."""
        value = self._headers.get(name)
        return None if value is None else value.decode("latin-1")

    def cookie(self, name: str) -> str | None:
        """Give the value of a cookie; None when it is absent, or stands there twice."""
        given = self.get(b"cookie")
        if given is None or name not in given:
            return None
        if sum(part.strip().startswith(f"{name}=") for part in given.split(";")) != 1:
            return None
        try:
            found = SimpleCookie(given).get(name)
        except CookieError:
            return None
        return None if found is None else found.value

    @property
    def is_proxied(self) -> bool:
        """Whether a proxy says that it stands between."""
        return not _OF_PROXIES.isdisjoint(self._headers)

    @property
    def https(self) -> bool:
        """Whether the client came over TLS, as far as this server or a trusted proxy knows."""
        return self.scheme in {"https", "wss"}


def _read(headers: list[tuple[bytes, bytes]], bounds: Bounds) -> dict[bytes, bytes]:
    if len(headers) > bounds.headers:
        raise HeadersTooLarge(f"The request has {len(headers)} headers; {bounds.headers} are allowed.")
    size = 0
    found: dict[bytes, bytes] = {}
    for name, value in headers:
        size += len(name) + len(value)
        if name in _WANTED:
            if name not in found:
                found[name] = value
            elif name in _ONCE:
                raise BadRequest(f"The header {name.decode()} stands there twice; send it once.")
            else:
                found[name] += (b"; " if name == b"cookie" else b", ") + value
    if size > bounds.header_bytes:
        raise HeadersTooLarge(f"The headers are larger than {bounds.header_bytes} bytes; send fewer cookies.")
    return found


def _length(headers: dict[bytes, bytes]) -> int | None:
    given = headers.get(b"content-length")
    if given is None:
        return None
    if b"transfer-encoding" in headers:
        raise BadRequest("The request has both Content-Length and Transfer-Encoding; send one of them.")
    if not _DIGITS.fullmatch(given):
        raise BadRequest(f"The Content-Length {ascii(given.decode('latin-1'))[:40]} is no number.")
    return int(given)
