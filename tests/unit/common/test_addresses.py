"""Which addresses may be called: nothing private, in none of the forms that stand for it."""

from __future__ import annotations

from ipaddress import IPv4Address, ip_address

import hypothesis
import pytest
from hypothesis import strategies

from cos.common.addresses import Allowance, carried, parse
from cos.errors import BadSetting

PUBLIC = ("8.8.8.8", "1.1.1.1", "2606:4700:4700::1111", "2a00:1450:4001:81c::200e")
NOT_PUBLIC = (
    *("127.0.0.1", "127.255.255.254", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.0.1"),
    *("169.254.169.254", "100.64.0.1", "0.0.0.0", "0.1.2.3", "192.0.0.1", "192.0.2.7", "192.88.99.1"),  # noqa: S104
    *("198.18.0.1", "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.1.1.1", "240.0.0.1", "255.255.255.255"),
    *("::1", "::", "fe80::1", "fe80::1%eth0", "fec0::1", "fc00::1", "fd12:3456::1", "ff02::1"),
    *("2001:db8::1", "3fff::1", "2001::1", "2001:10::1", "100::1", "5f00::1", "4000::1"),
    *("::ffff:127.0.0.1", "::ffff:8.8.8.8", "::127.0.0.1", "::8.8.8.8", "2002:7f00:1::", "2002:808:808::"),
    *("64:ff9b::7f00:1", "64:ff9b::808:808", "64:ff9b:1::a00:1", "2001:0:808:808::f5ff:fffe"),
)


class TestPublicOnly:
    @pytest.mark.parametrize("text", PUBLIC)
    def test_a_public_one_may_be_called(self, text) -> None:
        assert Allowance().refusal(ip_address(text)) is None

    @pytest.mark.parametrize("text", NOT_PUBLIC)
    def test_any_other_must_not(self, text) -> None:
        assert Allowance().refusal(ip_address(text))

    @hypothesis.given(strategies.ip_addresses(v=4))
    def test_no_ipv6_form_gets_round_the_check(self, inner: IPv4Address) -> None:
        """Whatever IPv4 address is written inside an IPv6 one, it is refused."""
        low = int(inner)
        forms = (0xFFFF << 32 | low, low, 0x64FF9B << 96 | low, 0x2002 << 112 | low << 80)
        for form in forms:
            assert Allowance().refusal(ip_address(form.to_bytes(16, "big")))


class TestAllowed:
    def test_a_network_and_an_address(self) -> None:
        allowance = Allowance.parse("10.1.0.0/16, ::1,192.168.1.7")
        for text in ("10.1.2.3", "::1", "192.168.1.7"):
            assert allowance.refusal(ip_address(text)) is None
        for text in ("10.2.0.1", "127.0.0.1", "192.168.1.8", "::ffff:10.1.2.3"):
            assert allowance.refusal(ip_address(text))

    def test_the_outer_form_does_not_allow_the_inner_address(self) -> None:
        """Who allows NAT64 means public hosts behind it, not this machine."""
        allowance = Allowance.parse("64:ff9b::/96,::ffff:0:0/96")
        assert allowance.refusal(ip_address("64:ff9b::808:808")) is None
        assert allowance.refusal(ip_address("64:ff9b::7f00:1")) == "loopback"
        assert allowance.refusal(ip_address("::ffff:10.0.0.1")) == "private"

    @pytest.mark.parametrize("text", ["10.0.0.1/8", "localhost", "10.0.0.0/33", "1"])
    def test_what_is_no_network_is_named(self, text) -> None:
        with pytest.raises(BadSetting, match=text):
            Allowance.parse(f"127.0.0.1,{text}")


class TestCarried:
    def test_only_what_stands_for_an_ipv4_address(self) -> None:
        assert carried(ip_address("::ffff:1.2.3.4")) == ip_address("1.2.3.4")
        assert carried(ip_address("2002:102:304::")) == ip_address("1.2.3.4")
        assert carried(ip_address("64:ff9b::1.2.3.4")) == ip_address("1.2.3.4")
        for text in ("1.2.3.4", "::1", "::", "2606:4700::1"):
            assert carried(ip_address(text)) is None

    @pytest.mark.parametrize("text", ["2130706433", "0177.0.0.1", "0x7f.0.0.1", "127.1", "example.com", ""])
    def test_unusual_forms_are_no_address(self, text) -> None:
        assert parse(text) is None
