"""Spans: one trace from a request over the record and its announcement to each handler, in OpenTelemetry's terms.

The trace travels as the W3C `traceparent` that each event carries. Where nothing is traced there is no `Telemetry` at
all, this file is not even loaded, and every place that would open a span has one comparison to make.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    set_span_in_context,
)

from cos.common import context

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.trace import Span, Tracer

Kind = Literal["internal", "server", "producer", "consumer"]


class Telemetry:
    """Opens spans under the trace that is being followed."""

    def __init__(self, *, tracer: Tracer) -> None:
        """Take the tracer, whose provider knows where spans go."""
        self._tracer = tracer

    @contextmanager
    def span(
        self,
        name: str,
        *,
        parent: str | None,
        kind: Kind = "internal",
        attributes: Mapping[str, str | int] | None = None,
    ) -> Iterator[Span]:
        """Open a span; what happens inside belongs to it, also what is recorded (`context.traceparent`).

        Args:
            name: of the span.
            parent: `traceparent` that it belongs under; None begins a trace.
            kind: of the span.
            attributes: of the span.
        """
        span = self._tracer.start_span(
            name, context=_under(parent), kind=SpanKind[kind.upper()], attributes=attributes
        )
        token = context.traceparent.set(_written(span.get_span_context()))
        try:
            yield span
        except Exception as error:
            span.record_exception(error)
            span.set_status(Status(StatusCode.ERROR, type(error).__name__))
            raise
        finally:
            context.traceparent.reset(token)
            span.end()


def _under(parent: str | None) -> Context | None:
    if parent is None:
        return None
    _, trace, span, flags = parent.split("-")
    place = SpanContext(int(trace, 16), int(span, 16), is_remote=True, trace_flags=TraceFlags(int(flags, 16)))
    return set_span_in_context(NonRecordingSpan(place))


def _written(place: SpanContext) -> str:
    return f"00-{place.trace_id:032x}-{place.span_id:016x}-{place.trace_flags:02x}"
