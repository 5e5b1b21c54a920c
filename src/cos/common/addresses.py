"""Which network addresses COS may call for somebody else: public ones, and those that the settings allow."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from typing import Final

from cos.errors import BadSetting

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

#: What is not the public Internet, by the IANA's registries of special addresses, with the word for it. Kept here, for
#: what Python calls global has changed from version to version.
_SPECIAL: Final[tuple[tuple[str, str], ...]] = (
    ("0.0.0.0/8", "this network"),
    ("10.0.0.0/8", "private"),
    ("100.64.0.0/10", "private (carrier's)"),
    ("127.0.0.0/8", "loopback"),
    ("169.254.0.0/16", "link-local"),
    ("172.16.0.0/12", "private"),
    ("192.0.0.0/24", "reserved"),
    ("192.0.2.0/24", "for documentation"),
    ("192.88.99.0/24", "reserved (6to4 relay)"),
    ("192.168.0.0/16", "private"),
    ("198.18.0.0/15", "for benchmarks"),
    ("198.51.100.0/24", "for documentation"),
    ("203.0.113.0/24", "for documentation"),
    ("224.0.0.0/4", "multicast"),
    ("240.0.0.0/4", "reserved"),
    ("::1/128", "loopback"),
    ("::/128", "unspecified"),
    ("::ffff:0:0/96", "IPv4 in IPv6"),
    ("::/96", "IPv4 in IPv6"),
    ("64:ff9b::/96", "IPv4 in IPv6 (NAT64)"),
    ("64:ff9b:1::/48", "IPv4 in IPv6 (NAT64)"),
    ("2001::/32", "IPv4 in IPv6 (Teredo)"),
    ("2001::/23", "reserved"),
    ("2001:db8::/32", "for documentation"),
    ("2002::/16", "IPv4 in IPv6 (6to4)"),
    ("3fff::/20", "for documentation"),
    ("fc00::/7", "private"),
    ("fe80::/10", "link-local"),
    ("fec0::/10", "private (site-local)"),
    ("ff00::/8", "multicast"),
)
_REFUSED: Final = tuple((ip_network(net), word) for net, word in _SPECIAL)
#: All that the IANA has given out for the public IPv6 Internet.
_GLOBAL_IPV6: Final = IPv6Network("2000::/3")
_NAT64: Final = (IPv6Network("64:ff9b::/96"), IPv6Network("64:ff9b:1::/48"))
_COMPATIBLE: Final = IPv6Network("::/96")


class Allowance:
    """What may be called; immutable."""

    def __init__(self, allowed: Iterable[Network] = ()) -> None:
        """Take the networks that may be called although they are not public."""
        self._allowed = tuple(allowed)

    @classmethod
    def parse(cls, text: str) -> Allowance:
        """Read networks or addresses that are separated by commas.

        Raises:
            BadSetting: one of them is neither.
        """
        found = []
        for part in filter(None, (one.strip() for one in text.split(","))):
            try:
                found.append(ip_network(part))
            except ValueError:
                raise BadSetting(
                    f"{part[:60]!r} in COS_WEBHOOK_ALLOW is no network: it looks like 10.1.0.0/16, ::1 or 192.168.1.7."
                ) from None
        return cls(found)

    def refusal(self, address: Address) -> str | None:
        """Say in a word or two why an address must not be called; None when it may be.

        An address that carries another is judged by both: what is allowed for the outer does not hold for the inner.
        """
        inner = carried(address)
        if inner is not None and (why := self.refusal(inner)) is not None:
            return why
        bare = IPv6Address(int(address)) if isinstance(address, IPv6Address) else address  # without %scope
        if any(bare in net for net in self._allowed if net.version == bare.version):
            return None
        for net, word in _REFUSED:
            if net.version == bare.version and bare in net:
                return word
        if isinstance(bare, IPv6Address) and bare not in _GLOBAL_IPV6:
            return "reserved"
        return None if bare.is_global else "reserved"


def carried(address: Address) -> IPv4Address | None:
    """Give the IPv4 address that an IPv6 address stands for, where it stands for one."""
    if isinstance(address, IPv4Address):
        return None
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.sixtofour is not None:
        return address.sixtofour
    if address.teredo is not None:
        return address.teredo[1]
    bare = IPv6Address(int(address))
    if any(bare in net for net in _NAT64) or (bare in _COMPATIBLE and int(bare) > 1):
        return IPv4Address(int(bare) & 0xFFFFFFFF)
    return None


def parse(text: str) -> Address | None:
    """Read an address in its one usual form; None where the text is none, or writes one in another way."""
    try:
        return ip_address(text)
    except ValueError:
        return None
