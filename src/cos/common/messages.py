"""The envelope of an event on the wire: CloudEvents 1.0 in JSON, with our extensions."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec


class Envelope(msgspec.Struct, omit_defaults=True, kw_only=True):
    """One recorded event as readers see it, in streams, on live channels and over HTTP.

    `data` is the JSON text that was recorded, unchanged. `position` is the event's place in the log and the id of
    its stream entry. Members that have no value are left out.
    """

    specversion: str
    id: UUID
    source: str
    type: str
    time: datetime
    subject: str | None = None
    datacontenttype: str | None = None
    data: msgspec.Raw = msgspec.Raw(b"null")
    module: str
    level: str
    position: str
    recordedtime: datetime
    requestid: str | None = None
    traceid: str | None = None
    traceparent: str | None = None
    idempotencykey: str | None = None


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Envelope)


def encode(envelope: Envelope) -> bytes:
    """Give the envelope as JSON."""
    return _encoder.encode(envelope)


def decode(raw: bytes | str) -> Envelope:
    """Read an envelope from JSON; raises `msgspec.DecodeError` when it is none."""
    return _decoder.decode(raw)


def data_of(envelope: Envelope) -> Any:
    """Give the envelope's data as Python values."""
    return msgspec.json.decode(bytes(envelope.data))
