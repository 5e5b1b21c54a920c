"""Signatures of webhooks, against the standard's own published example and a check of our own."""

from __future__ import annotations

import base64
import hashlib
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from cos.common import webhook_signature as signature
from cos.errors import BadInput


def hmac_by_hand(key: bytes, text: bytes) -> bytes:
    """HMAC-SHA256 as RFC 2104 writes it, without Python's hmac."""
    block = (hashlib.sha256(key).digest() if len(key) > 64 else key).ljust(64, b"\0")
    inner = hashlib.sha256(bytes(one ^ 0x36 for one in block) + text).digest()
    return hashlib.sha256(bytes(one ^ 0x5C for one in block) + inner).digest()


class TestHeaders:
    def test_the_published_example(self) -> None:
        """The example that every library of Standard Webhooks is tested with."""
        headers = signature.headers(
            message_id="msg_p5jXN8AQM9LWM0D4loKWxJek",
            at=datetime.fromtimestamp(1614265330, UTC),
            body=b'{"test": 2432232314}',
            keys=[signature.key_of("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")],
        )
        assert headers == {
            "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
            "webhook-timestamp": "1614265330",
            "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
        }

    def test_two_keys_make_two_signatures(self) -> None:
        """Each verifies alone; seconds are cut, not rounded."""
        keys = [signature.key_of(signature.new_secret()) for _ in range(2)]
        at = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(microseconds=999_999)
        headers = signature.headers(message_id="x", at=at, body=b"{}", keys=keys)
        signed = f"x.{headers['webhook-timestamp']}.{{}}".encode()
        assert headers["webhook-timestamp"] == "1767225600"
        wanted = [f"v1,{base64.b64encode(hmac_by_hand(key, signed)).decode()}" for key in keys]
        assert headers["webhook-signature"] == " ".join(wanted)


class TestSecrets:
    def test_new_ones_differ_and_are_long_enough(self) -> None:
        made = {signature.new_secret() for _ in range(20)}
        assert len(made) == 20
        assert all(len(signature.key_of(one)) == 32 for one in made)

    @pytest.mark.parametrize(
        "secret",
        [
            *("", "whsec_", "whsec_kurz", "whsec_!!!!", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_ö"),
            *(f"whsec_{base64.b64encode(bytes(size)).decode()}" for size in (23, 65)),
        ],
    )
    def test_others_are_refused_and_not_repeated(self, secret) -> None:
        with pytest.raises(BadInput) as refused:
            signature.key_of(secret)
        assert not secret.removeprefix("whsec_") or secret.removeprefix("whsec_") not in refused.value.detail


class TestDocumentedReceiver:
    """The code that docs/webhooks.md gives to those who write a receiver."""

    @pytest.fixture
    def verified(self):
        text = (Path(__file__).parents[3] / "docs/webhooks.md").read_text()
        told: dict = {}
        exec(re.search(r"```python\n(.*?)```", text, re.DOTALL)[1], told)  # noqa: S102  (our own document)
        return told["verified"]

    def test_it_takes_what_is_ours_and_nothing_else(self, verified) -> None:
        secrets = [signature.new_secret() for _ in range(3)]
        keys = [signature.key_of(one) for one in secrets[:2]]
        headers = signature.headers(message_id="x", at=datetime.now(UTC), body=b"{}", keys=keys)
        assert verified(secrets[0], headers, b"{}")
        assert verified(secrets[1], headers, b"{}")
        assert not verified(secrets[2], headers, b"{}")
        assert not verified(secrets[0], headers, b"{ }")
        assert not verified(secrets[0], headers | {"webhook-id": "y"}, b"{}")
        old = signature.headers(
            message_id="x", at=datetime.now(UTC) - timedelta(minutes=6), body=b"{}", keys=keys
        )
        assert not verified(secrets[0], old, b"{}")
