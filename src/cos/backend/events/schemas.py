"""The shapes of the events API, decoded with msgspec: these routes are the hot ones."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from cos.common import context
from cos.memory.event import Limits, NewEvent, PromptTrace, new_event


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
