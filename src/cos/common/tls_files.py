"""The files that a server's URL names for TLS: certificates and keys."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

#: Parameters of libpq and of the Redis client whose value is a file.
_NAMES = frozenset(
    {"sslrootcert", "sslcert", "sslkey", "sslcrl", "ssl_ca_certs", "ssl_certfile", "ssl_keyfile"}
)


def unreadable(url: str) -> str | None:
    """Say which of them cannot be read, and why; None when all can.

    The libraries name no file when one is missing.
    """
    try:
        pairs = parse_qsl(urlsplit(url).query)
    except ValueError:
        return None
    for name, value in pairs:
        if name in _NAMES:
            try:
                with Path(value).open("rb"):
                    pass
            except OSError as error:
                return f"the file {value} ({name} in its URL) cannot be read: {error.strerror}"
    return None
