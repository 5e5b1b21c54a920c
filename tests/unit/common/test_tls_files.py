"""Which file of a URL cannot be read."""

from __future__ import annotations

import pytest

from cos.common.tls_files import unreadable


@pytest.mark.parametrize(
    "url",
    [
        "redis://h/0",
        "postgresql://h/d?sslmode=verify-full",
        "rediss://h/0?ssl_ca_certs={file}",
        "postgresql://[h",
    ],
)
def test_nothing_to_say(url, tmp_path) -> None:
    file = tmp_path / "ca.pem"
    file.touch()
    assert unreadable(url.format(file=file)) is None


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("postgresql://h/d?sslmode=verify-full&sslrootcert=/no/ca", "the file /no/ca (sslrootcert"),
        ("rediss://h/0?ssl_keyfile=/", "the file / (ssl_keyfile in its URL) cannot be read: Is a directory"),
    ],
)
def test_it_is_named(url, said) -> None:
    assert said in unreadable(url)
