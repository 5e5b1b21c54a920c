"""Where a request comes from: which names are this server's, and which pages may use it."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from cos.backend.auth.scopes import SAFE_METHODS
from cos.errors import Forbidden

if TYPE_CHECKING:
    from cos.backend.auth.asked import Asked

_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
#: A host and perhaps a port, after `//` or a scheme; an IPv6 address stands in brackets.
_PLACE = re.compile(
    r"(?:https?:)?//(?:(?P<name>[A-Za-z0-9._-]+)|\[(?P<bare>(?=[^\]]*:)[0-9A-Fa-f:.]+)\])(?::(?P<port>[0-9]{0,5}))?",
    re.ASCII,
)
_LAST_PORT = 65535
_OURS = frozenset({"same-origin", "none"})


def is_loopback(host: str) -> bool:
    """Say whether an address to listen on can be reached from this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@dataclass(frozen=True, slots=True, kw_only=True)
class Origins:
    """Judges the `Host` and `Origin` of requests.

    A browser can be led by any page: to a name that its owner points at this machine (DNS rebinding; the `Host` then
    is that name), or to send a request from another site (the `Origin` then is that site).

    Attributes:
        names: host names of this server, in lower case.
        addresses: whether it may also be called by a bare IP address, which no DNS can point elsewhere.
        pages: further origins whose pages may write.
    """

    names: frozenset[str] = _LOOPBACK
    addresses: bool = False
    pages: frozenset[str] = frozenset()

    def check(self, asked: Asked, *, websocket: bool = False) -> None:
        """Refuse what comes from elsewhere.

        Raises:
            Forbidden: says which host or page.
        """
        host = asked.get(b"host") or ""
        self._check_host(host)
        origin = asked.get(b"origin")
        if origin is not None:
            self._check_origin(origin, host, asked, websocket=websocket)
        self._check_fetch(asked)

    def is_own(self, origin: str, host: str, *, https: bool) -> bool:
        """Say whether a page of this origin is ours, or one that may act as if it were."""
        return origin == f"{'https' if https else 'http'}://{host}".lower() or origin in self.pages

    def _check_host(self, host: str) -> None:
        name = _hostname(f"//{host}")
        if name in self.names or (self.addresses and name is not None and _is_address(name)):
            return
        if self.addresses:
            raise Forbidden(
                f"The host {ascii(host)[:80]} is not known here; add it to COS_HOSTS if it is a name of this server."
            )
        raise Forbidden(f"The host {ascii(host)[:80]} is not this machine; use 127.0.0.1 or localhost.")

    def _check_origin(self, origin: str, host: str, asked: Asked, *, websocket: bool) -> None:
        if self.is_own(origin.lower(), host, https=asked.https):
            return
        # A page from another port of this machine may ask, and its browser keeps the answer from it. It may not
        # write, and not open a WebSocket, which no browser keeps from it.
        local = _hostname(origin) in _LOOPBACK and self.names >= _LOOPBACK
        if local and asked.method in SAFE_METHODS and not websocket:
            return
        hint = "; add it to COS_ORIGINS to let its pages write" if local else ""
        raise Forbidden(f"Pages of {ascii(origin)[:80]} may not use this API{hint}.")

    def _check_fetch(self, asked: Asked) -> None:
        """Refuse what a browser says that another site began, but for a person following a link."""
        site = asked.get(b"sec-fetch-site")
        if site is None or site in _OURS or site == "same-site":
            return
        origin = asked.get(b"origin")
        if origin is not None and origin.lower() in self.pages:
            return
        followed = asked.get(b"sec-fetch-mode") == "navigate" and asked.get(b"sec-fetch-dest") == "document"
        if asked.method not in SAFE_METHODS or not followed:
            raise Forbidden("Another site began this request; open the address yourself.")


@lru_cache(maxsize=512)  # the same few hosts and pages ask again and again
def _hostname(url: str) -> str | None:
    """Give the host's name of `//host:port` or of an origin; None for what is not exactly that.

    A user name, a query, a control character: they are there only for who wants to be read in two ways.
    """
    found = _PLACE.fullmatch(url)
    if found is None or int(found["port"] or 0) > _LAST_PORT:
        return None
    return (found["name"] or found["bare"]).lower()


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
