"""The address of a webhook: read in one way, or refused."""

from __future__ import annotations

from contextlib import suppress

import hypothesis
import pytest
from hypothesis import strategies

from cos.common.target import Target
from cos.errors import BadInput

GOOD = {
    "https://example.com": ("https", "example.com", 443, "/"),
    "HTTP://Example.COM:8080/a%20b?c=d&e": ("http", "example.com", 8080, "/a%20b?c=d&e"),
    "https://xn--bcher-kva.example./x": ("https", "xn--bcher-kva.example.", 443, "/x"),
    "http://192.0.2.7:80/": ("http", "192.0.2.7", 80, "/"),
    "http://[2001:db8::1]:9000/x": ("http", "2001:db8::1", 9000, "/x"),
    "http://my_service:3000/?a": ("http", "my_service", 3000, "/?a"),
}
BAD = {
    "ftp://example.com/": "must begin with",
    "example.com/hook": "must begin with",
    "//example.com/": "must begin with",
    "file:///etc/passwd": "must begin with",
    "https://": "no host",
    "https:///path": "no host",
    "https://a..b/": "no host",
    "https://-a.com/": "no host",
    "https://a,b/": "no host",
    "https://example.com:99999/": "cannot be read",
    "https://example.com:x/": "cannot be read",
    "https://[::1/": "cannot be read",
    "https://[v1.a]/": "IPv6",
    "https://[fe80::1%25eth0]/": "IPv6",
    "https://user:geheim@example.com/": "a user or a password",
    "https://example.com@127.0.0.1/": "a user or a password",
    "https://example.com/#a": "fragment",
    "https://bücher.example/": "punycode",
    "https://example.com/a b": "percent-encoded",
    "https://example.com\\@127.0.0.1/": "percent-encoded",
    "https://example.com/\r\nX: y": "percent-encoded",
    "https://example.com:22/": "port 22",
    "https://example.com:6379/": "port 6379",
    "http://example.com:0/": "port 0",
    "http://2130706433/": "is a number",
    "http://0177.0.0.1/": "is a number",
    "http://0x7f.1/": "is a number",
    "http://127.1/": "is a number",
    "http://127.0.0.1./": "is a number",
    "http://0x/": "is a number",
    "https://example.com/" + "a" * 2000: "2020 characters",
}


class TestTarget:
    @pytest.mark.parametrize("url", GOOD)
    def test_read(self, url) -> None:
        target = Target.parse(url)
        assert (target.scheme, target.host, target.port, target.path) == GOOD[url]

    @pytest.mark.parametrize("url", BAD)
    def test_refused_with_a_reason(self, url) -> None:
        with pytest.raises(BadInput, match=BAD[url]):
            Target.parse(url)

    def test_no_message_repeats_a_password(self) -> None:
        for url in (
            "https://user:geheim@example.com/",
            "https://user:geheim@example.com/ x",
            "ftp://a:geheim@b/",
        ):
            with pytest.raises(BadInput) as refused:
                Target.parse(url)
            assert "geheim" not in refused.value.detail

    @hypothesis.given(strategies.text(max_size=40))
    def test_any_text_is_read_or_refused(self, text) -> None:
        for url in (text, f"http://{text}", f"http://a.example/{text}"):
            with suppress(BadInput):
                assert Target.parse(url).path.isascii()

    def test_origin(self) -> None:
        assert Target.parse("http://[2001:db8::1]/").origin == "[2001:db8::1]:80"
        assert Target.parse("https://a.example/").origin == "a.example:443"
