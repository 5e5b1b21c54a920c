"""Structured logs: an event name and fields; text for a person at a terminal, else one JSON object a line."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, Literal, TextIO

import structlog

from cos.common import context

if TYPE_CHECKING:
    from structlog.typing import EventDict, WrappedLogger


def configure(*, level: str, shape: Literal["auto", "text", "json"], stream: TextIO | None = None) -> None:
    """Set up this process's logs.

    Args:
        level: least severe level that is written.
        shape: `auto` is text on a terminal, else JSON.
        stream: where to write; standard error by default.
    """
    out = stream if stream is not None else sys.stderr
    as_text = shape == "text" or (shape == "auto" and out.isatty())
    renderer: structlog.typing.Processor = (
        # Plain tracebacks: the richer ones print local variables, and with them whatever is secret.
        structlog.dev.ConsoleRenderer(colors=out.isatty(), exception_formatter=structlog.dev.plain_traceback)
        if as_text
        else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            _with_request_id,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *([] if as_text else [structlog.processors.format_exc_info]),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.WriteLoggerFactory(file=out),
        cache_logger_on_first_use=False,
    )
    # What libraries say through the standard module, warnings and worse only.
    logging.basicConfig(
        level=logging.WARNING, stream=out, format="%(levelname)s %(name)s %(message)s", force=True
    )


def _with_request_id(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    request_id = context.request_id.get()
    if request_id is not None:
        event["request_id"] = request_id
    trace_id = context.trace_id_of(context.traceparent.get())
    if trace_id is not None:
        event["trace_id"] = trace_id
    return event
