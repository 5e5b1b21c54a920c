"""The secrets themselves: how one is made, read, and kept so that who reads the database cannot use it.

A secret is 256 random bits. That is why one round of SHA-256 keeps it safe at rest: the slow hashes that passwords
need make guessing dear, and nobody guesses 256 bits. It costs a microsecond, so every request can be checked.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import dataclass

from cos.common import ids

_ID_BYTES = 8
_SECRET_BYTES = 32
_TOKEN = re.compile(r"cos_([0-9a-f]{16})_[A-Za-z0-9_-]{43}")
_SESSION = re.compile(r"([0-9a-f]{16})\.[A-Za-z0-9_-]{43}")

#: What a token in an address looks like, wherever it stands: it is refused there, because addresses are logged.
TOKEN_IN_URL = re.compile(rb"cos_[0-9a-f]{16}_")


@dataclass(frozen=True, slots=True)
class Secret:
    """A new secret: its id, which is no secret, the whole text, which is shown once, and what is kept of it."""

    id: str
    text: str
    hash: bytes


def new_token() -> Secret:
    """Make a token: `cos_`, its id, its secret; the prefix is there for programs that look for leaked secrets."""
    number = ids.random_hex(_ID_BYTES)
    return _made(number, f"cos_{number}_{ids.secret(_SECRET_BYTES)}")


def new_session() -> Secret:
    """Make the value of a session's cookie."""
    number = ids.random_hex(_ID_BYTES)
    return _made(number, f"{number}.{ids.secret(_SECRET_BYTES)}")


def token_id(text: str) -> str | None:
    """Give the id inside a token, None when it is none."""
    found = _TOKEN.fullmatch(text)
    return found[1] if found else None


def session_id(text: str) -> str | None:
    """Give the id inside a session's cookie, None when it is none."""
    found = _SESSION.fullmatch(text)
    return found[1] if found else None


def hash_of(text: str) -> bytes:
    """Give what is kept of a secret."""
    return hashlib.sha256(text.encode()).digest()


def is_secret(text: str, kept: bytes) -> bool:
    """Say whether this is the secret; takes as long wherever it differs."""
    return hmac.compare_digest(hash_of(text), kept)


def csrf_of(session: str) -> str:
    """Give the token that a session's forms carry: only who knows the cookie can make it."""
    return hmac.new(session.encode(), b"csrf", hashlib.sha256).hexdigest()


def same(given: str, wanted: str) -> bool:
    """Compare two texts in a time that does not tell where they differ."""
    return hmac.compare_digest(given.encode(), wanted.encode())


def _made(number: str, text: str) -> Secret:
    return Secret(number, text, hash_of(text))
