"""Where spans go: set up when the settings name a collector, from the `telemetry` extra's packages."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import cos
from cos.errors import BadSetting

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

    from cos.common.telemetry import Telemetry

_FLUSH_SECONDS = 2.0


@asynccontextmanager
async def spans(url: str | None) -> AsyncIterator[Telemetry | None]:
    """Give what opens the spans of one process; what it has not sent by the end is sent then.

    Args:
        url: of the collector's OTLP endpoint over HTTP, such as http://127.0.0.1:4318/v1/traces; None for no spans.

    Raises:
        BadSetting: the packages that send spans are not installed.
    """
    if url is None:
        yield None
        return
    provider = _provider_for(url)
    from cos.common.telemetry import Telemetry  # noqa: PLC0415  (loads OpenTelemetry, which costs a start 80 ms)

    try:
        yield Telemetry(tracer=provider.get_tracer("cos", cos.__version__))
    finally:
        await asyncio.to_thread(provider.shutdown)  # the collector is waited for no longer than its timeout


def _provider_for(url: str) -> TracerProvider:
    """Make what sends spans to a collector, in batches, from a thread of its own."""
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
    except ImportError as error:
        raise BadSetting(
            "COS_OTLP_URL is set, but the packages that send spans are not installed: pip install 'cos[telemetry]'."
        ) from error
    provider = TracerProvider(
        resource=Resource.create({"service.name": "cos", "service.version": cos.__version__}),
        shutdown_on_exit=False,
    )
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=url, timeout=_FLUSH_SECONDS)))
    return provider
