"""The shapes of the events API, decoded with msgspec: these routes are the hot ones."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from cos.common import context
from cos.memory.event import Limits, NewEvent, PromptTrace, new_event
from cos.memory.l1_log import Recorded


class EventIn(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """One event as a client sends it; only `type` is needed."""

    type: str
    module: str = "cc"
    subject: str | None = None
    data: msgspec.Raw = msgspec.Raw(b"null")
    level: str = "info"
    time: datetime | None = None
    request_id: str | None = None
    trace_id: str | None = None
    traceparent: str | None = None
    idempotency_key: str | None = None
    prompt: PromptTrace | None = None

    def checked(self, limits: Limits, *, key: str | None = None) -> NewEvent:
        """Check it; raises BadInput or TooLarge.

        Args:
            limits: how large it may be.
            key: idempotency key from the request's header, used when the event has none of its own.
        """
        parent = context.accept_traceparent(self.traceparent) or context.traceparent.get()
        return new_event(
            type=self.type,
            module=self.module,
            raw_data=self.data,
            subject=self.subject,
            level=self.level,
            request_id=self.request_id if self.request_id is not None else context.request_id.get(),
            trace_id=self.trace_id if self.trace_id is not None else context.trace_id_of(parent),
            traceparent=parent,
            time=self.time,
            idempotency_key=self.idempotency_key if self.idempotency_key is not None else key,
            prompt=self.prompt,
            limits=limits,
        )


class Receipt(msgspec.Struct, frozen=True):
    """What became of one event."""

    id: str
    position: str
    duplicate: bool


class Receipts(msgspec.Struct, frozen=True):
    """What became of several events."""

    recorded: int
    duplicates: int
    events: list[Receipt]


class StreamReceipt(msgspec.Struct):
    """What became of a stream of lines."""

    recorded: int = 0
    duplicates: int = 0
    last_position: str | None = None

    def add(self, done: list[Recorded]) -> None:
        """Count a batch that became durable."""
        repeated = sum(one.duplicate for one in done)
        self.recorded += len(done) - repeated
        self.duplicates += repeated
        self.last_position = str(done[-1].position)


def answers(*names: str) -> dict[str, Any]:
    """Describe a good answer that has one of these shapes, for a route's OpenAPI entry."""
    schemas = [{"$ref": f"#/components/schemas/{name}"} for name in names]
    return {
        "content": {"application/json": {"schema": schemas[0] if len(schemas) == 1 else {"anyOf": schemas}}}
    }


_NULLABLE_TEXT: dict[str, Any] = {"type": ["string", "null"]}

#: `EventIn` in the OpenAPI document.
EVENT_IN_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["type"],
    "additionalProperties": False,
    "properties": {
        "type": {"type": "string", "maxLength": 100, "pattern": "^[A-Za-z][A-Za-z0-9_.:/-]{0,99}$"},
        "module": {"type": "string", "default": "cc", "pattern": "^[A-Za-z][A-Za-z0-9_.-]{0,63}$"},
        "subject": {**_NULLABLE_TEXT, "maxLength": 500},
        "data": {"description": "any JSON value, given back to the byte"},
        "level": {
            "type": "string",
            "enum": ["debug", "info", "warning", "error", "critical"],
            "default": "info",
        },
        "time": {**_NULLABLE_TEXT, "format": "date-time", "description": "when it happened, with a timezone"},
        "request_id": {**_NULLABLE_TEXT, "maxLength": 200},
        "trace_id": {**_NULLABLE_TEXT, "maxLength": 200},
        "traceparent": _NULLABLE_TEXT,
        "idempotency_key": {**_NULLABLE_TEXT, "maxLength": 200},
        "prompt": {
            "type": ["object", "null"],
            "additionalProperties": False,
            "properties": {
                "prompt": _NULLABLE_TEXT,
                "response": _NULLABLE_TEXT,
                "model": _NULLABLE_TEXT,
                "latency_ms": {"type": ["integer", "null"], "minimum": 0},
                "tokens_in": {"type": ["integer", "null"], "minimum": 0},
                "tokens_out": {"type": ["integer", "null"], "minimum": 0},
            },
        },
    },
    "example": {"type": "chapter.saved", "module": "editor", "subject": "ch01", "data": {"words": 2031}},
}

_TEXT: dict[str, Any] = {"type": "string"}
_TIME: dict[str, Any] = {"type": "string", "format": "date-time"}

# By hand: msgspec cannot describe a member that is kept as raw JSON.
_ENVELOPE_SCHEMA: dict[str, Any] = {
    "type": "object",
    "title": "Envelope",
    "description": "One recorded event: a CloudEvents 1.0 envelope. Members without a value are left out.",
    "required": [
        "specversion",
        "id",
        "source",
        "type",
        "time",
        "module",
        "level",
        "position",
        "recordedtime",
    ],
    "properties": {
        "specversion": {"const": "1.0"},
        "id": {"type": "string", "format": "uuid"},
        "source": _TEXT,
        "type": _TEXT,
        "time": {**_TIME, "description": "when it happened"},
        "subject": _TEXT,
        "datacontenttype": {"const": "application/json"},
        "data": {"description": "the JSON value that was recorded"},
        "module": _TEXT,
        "level": _TEXT,
        "position": {
            **_TEXT,
            "pattern": "^[0-9]+-[0-9]+$",
            "description": "place in the log, id in its stream",
        },
        "recordedtime": {**_TIME, "description": "when it was recorded"},
        "requestid": _NULLABLE_TEXT,
        "traceid": _NULLABLE_TEXT,
        "traceparent": _NULLABLE_TEXT,
        "idempotencykey": _NULLABLE_TEXT,
        "prompt": {
            "type": "object",
            "description": "its prompt trace, where one event is asked for and has one",
        },
    },
}
_PAGE_SCHEMA: dict[str, Any] = {
    "type": "object",
    "title": "Page",
    "required": ["events", "next"],
    "properties": {
        "events": {"type": "array", "items": {"$ref": "#/components/schemas/Envelope"}},
        "next": {**_NULLABLE_TEXT, "description": "position to go on from; null when these were the last"},
    },
}

#: The shapes of the answers, for the OpenAPI components.
EVENT_SCHEMAS: dict[str, Any] = {
    "EventIn": EVENT_IN_SCHEMA,
    "Envelope": _ENVELOPE_SCHEMA,
    "Page": _PAGE_SCHEMA,
    **msgspec.json.schema_components(
        (Receipt, Receipts, StreamReceipt), ref_template="#/components/schemas/{name}"
    )[1],
}
