"""Signing a webhook as Standard Webhooks asks: HMAC-SHA256 over id, time and body, with `whsec_` secrets."""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Iterable
from datetime import datetime

from cos.common import ids
from cos.errors import BadInput

PREFIX = "whsec_"
#: Bytes of a secret that the standard allows.
LEAST_BYTES, MOST_BYTES = 24, 64
_NEW_BYTES = 32


def new_secret() -> str:
    """Make a secret that nobody can guess, as text."""
    return PREFIX + base64.b64encode(bytes.fromhex(ids.random_hex(_NEW_BYTES))).decode()


def key_of(secret: str) -> bytes:
    """Give the key that a secret stands for.

    Raises:
        BadInput: it is no secret of the standard; the sentence does not repeat it.
    """
    try:
        key = base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not secret.startswith(PREFIX) or not LEAST_BYTES <= len(key) <= MOST_BYTES:
        raise BadInput(
            f"The secret is none of Standard Webhooks: {PREFIX}, then {LEAST_BYTES} to {MOST_BYTES} bytes in base64."
        )
    return key


def headers(*, message_id: str, at: datetime, body: bytes, keys: Iterable[bytes]) -> dict[str, str]:
    """Give the three headers of one attempt.

    Args:
        message_id: the same for every attempt, so that a receiver can tell a repetition; without a full stop.
        at: of this attempt, so that a receiver can refuse what is old.
        body: exactly as it is sent.
        keys: each makes one signature; several while a secret is exchanged.
    """
    stamp = str(int(at.timestamp()))
    signed = b".".join((message_id.encode(), stamp.encode(), body))
    signatures = (base64.b64encode(hmac.digest(key, signed, "sha256")).decode() for key in keys)
    return {
        "webhook-id": message_id,
        "webhook-timestamp": stamp,
        "webhook-signature": " ".join(f"v1,{one}" for one in signatures),
    }
