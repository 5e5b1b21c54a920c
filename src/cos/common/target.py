"""The address of a webhook: an http or https URL that every reader reads in the same way."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv6Address
from typing import Final
from urllib.parse import urlsplit

from cos.common import addresses
from cos.errors import BadInput

MAX_URL = 2000
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_FIRST_FREE_PORT = 1024
#: Where something other than HTTP listens that a crafted request could talk to: what browsers refuse, and databases.
_OTHER_SERVICES: Final = frozenset(
    {
        1433,
        1521,
        1719,
        1720,
        1723,
        2049,
        2375,
        2376,
        2379,
        3306,
        3659,
        4045,
        4190,
        5060,
        5061,
        5432,
        5672,
        6000,
    }
    | {6379, 6380, 6566, 6697, 9042, 9092, 10080, 10250, 11211, 27017, *range(6665, 6670)}
)
#: A label of a name; the underscore is not in the standard, but in use.
_LABEL: Final = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)")
_MAX_NAME = 253
_NUMBER: Final = re.compile(r"[0-9]+|0x[0-9a-f]*")
#: Nothing that two readers could read differently: no space, no control character, no backslash, only ASCII.
_PLAIN: Final = re.compile(r"[!-\[\]-~]+")


@dataclass(frozen=True, slots=True)
class Target:
    """Where to post to. Make one with `parse`.

    Attributes:
        scheme: http or https.
        host: a name or an address, lower case, an IPv6 address without its brackets.
        port: the one that is written, or the scheme's.
        path: with the query, as it is written.
    """

    scheme: str
    host: str
    port: int
    path: str

    @classmethod
    def parse(cls, url: str) -> Target:
        """Read a URL.

        Raises:
            BadInput: names what is wrong with it.
        """
        shown = _shown(url)
        if len(url) > MAX_URL:
            raise BadInput(f"The URL is {len(url)} characters long; at most {MAX_URL} are taken.")
        if _PLAIN.fullmatch(url) is None:
            raise BadInput(
                f"The URL {shown} holds a character that must be percent-encoded (a host: in punycode)."
            )
        try:
            parts = urlsplit(url)
            port, host = parts.port, (parts.hostname or "").lower()
        except ValueError:
            raise BadInput(
                f"The URL {shown} cannot be read; it looks like https://example.com/hook."
            ) from None
        if parts.scheme not in _DEFAULT_PORTS:
            raise BadInput(f"The URL {shown} must begin with https:// or http://.")
        if "@" in parts.netloc:
            raise BadInput("The URL holds a user or a password; a webhook is told by its signature instead.")
        if "#" in url:
            raise BadInput(f"The URL {shown} has a fragment (#…), which is never sent; leave it out.")
        _check_host(host, shown, bracketed="[" in parts.netloc)
        port = _DEFAULT_PORTS[parts.scheme] if port is None else port
        if port not in _DEFAULT_PORTS.values() and (port < _FIRST_FREE_PORT or port in _OTHER_SERVICES):
            raise BadInput(
                f"The port {port} of {shown} is none of a web server: 80, 443, or one above 1023 of no other service."
            )
        return cls(parts.scheme, host, port, (parts.path or "/") + (f"?{parts.query}" if parts.query else ""))

    @property
    def origin(self) -> str:
        """Give host and port, as they are written in a URL."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def address(self) -> addresses.Address | None:
        """Give the address, where the host is one and no name."""
        return addresses.parse(self.host)


def _check_host(host: str, shown: str, *, bracketed: bool) -> None:
    if bracketed:
        address = addresses.parse(host)
        if not isinstance(address, IPv6Address) or "%" in host:
            raise BadInput(f"The host of {shown} is no IPv6 address that can be used.")
        return
    labels = host.removesuffix(".").split(".")
    if len(host) > _MAX_NAME or not all(_LABEL.fullmatch(label) for label in labels):
        raise BadInput(f"The URL {shown} has no host that can be looked up.")
    # 2130706433, 0177.0.0.1 and 0x7f.1 are all 127.0.0.1 to some reader: only the usual form is an address.
    if _NUMBER.fullmatch(labels[-1]) and (addresses.parse(host) is None or host.endswith(".")):
        raise BadInput(f"The host of {shown} is a number; write an address as four numbers, like 192.0.2.7.")


def _shown(url: str) -> str:
    """Give the beginning of a URL for a message, without what could be a password."""
    return ascii(re.sub(r"//[^/?#]*@", "//…@", url)[:80])
