"""What a piece of work carries along: the request's id and its trace context, as context variables."""

from __future__ import annotations

import re
from contextvars import ContextVar

from cos.common import ids

request_id: ContextVar[str | None] = ContextVar("cos_request_id", default=None)
traceparent: ContextVar[str | None] = ContextVar("cos_traceparent", default=None)

_REQUEST_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:+/=@-]{0,127}")
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")


def accept_request_id(given: str | None) -> str:
    """Keep a request id that is safe to log and to send back, else make one."""
    if given is not None and _REQUEST_ID.fullmatch(given):
        return given
    return str(ids.uuid7())


def accept_traceparent(given: str | None) -> str | None:
    """Keep a W3C `traceparent`; anything else counts as absent, as the standard asks."""
    if given is not None and _TRACEPARENT.fullmatch(given) and given[3:35] != "0" * 32:
        return given
    return None


def trace_id_of(parent: str | None) -> str | None:
    """Give the trace id inside a `traceparent`."""
    return parent[3:35] if parent is not None else None
