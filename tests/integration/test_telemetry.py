"""One trace from a request over the record and its announcement to each handler; nothing when not asked for."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator

import httpx
import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from cos.backend.app import create_app, with_edge
from cos.common.telemetry import Telemetry
from cos.memory.event import new_event
from cos.memory.highway import Highway
from cos.runtime.core import Core
from cos.runtime.telemetry import spans

TRACE, CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


class Traced:
    """A whole COS that opens spans, with one group, and what has ended so far."""

    def __init__(self, core: Core, http: httpx.AsyncClient, exporter: InMemorySpanExporter) -> None:
        self.core = core
        self.http = http
        self._exporter = exporter

    def ended(self, name: str) -> list[ReadableSpan]:
        return [one for one in self._exporter.get_finished_spans() if one.name == name]


@pytest.fixture
async def traced(servers, settings, clean) -> AsyncIterator[Traced]:
    exporter, provider = InMemorySpanExporter(), TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    highway = Highway()

    @highway.subscriber(group="g", modules=["cc"], first_retry_seconds=0.01, attempts=2)
    async def handle(event) -> None:
        if event.data.get("fails"):
            raise ValueError("no")

    async with Core(
        settings=settings,
        database_url=servers.postgres.url,
        redis_url=servers.redis.url,
        highways=[highway],
        telemetry=Telemetry(tracer=provider.get_tracer("cos")),
    ) as core:
        transport = httpx.ASGITransport(app=with_edge(create_app(core.services())))
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000") as http:
            yield Traced(core, http, exporter)
    provider.shutdown()


def hexed(span: ReadableSpan) -> tuple[str, str, str | None]:
    """Give the trace, the span and its parent."""
    parent = None if span.parent is None else f"{span.parent.span_id:016x}"
    return f"{span.context.trace_id:032x}", f"{span.context.span_id:016x}", parent


class TestOneTrace:
    """Who follows the trace of a request sees all that became of it."""

    async def test_from_the_request_to_the_handler(self, traced: Traced, pg, eventually) -> None:
        answer = await traced.http.post(
            "/cc/modules",
            json={"name": "editor", "version": "1"},
            headers={"traceparent": f"00-{TRACE}-{CALLER}-01"},
        )
        assert answer.status_code in {200, 201}

        async def handled() -> bool:
            return bool(traced.ended("handle g"))

        await eventually(handled)
        (request,) = traced.ended("POST /cc/modules")
        (written,), (announced,), (done,) = (
            traced.ended(name) for name in ("log_l1", "announce", "handle g")
        )
        assert hexed(request)[::2] == (TRACE, CALLER)
        assert hexed(written)[::2] == (TRACE, hexed(request)[1])
        assert hexed(announced)[::2] == hexed(done)[::2] == (TRACE, hexed(written)[1])
        assert request.attributes["http.response.status_code"] == answer.status_code
        assert [span.kind.name for span in (request, written, announced, done)] == [
            "SERVER", "INTERNAL", "PRODUCER", "CONSUMER",
        ]  # fmt: skip
        row = await pg.fetchrow("SELECT trace_id, traceparent FROM l1.record")
        assert row["trace_id"] == TRACE
        assert row["traceparent"] == f"00-{TRACE}-{hexed(written)[1]}-01"

    async def test_a_request_that_brings_none_begins_one(self, traced: Traced) -> None:
        await traced.http.post("/events", json={"module": "cc", "type": "step", "data": {}})
        (request,) = traced.ended("POST /events")
        assert request.parent is None

    async def test_a_caller_that_is_not_sampled_is_not(self, traced: Traced) -> None:
        await traced.http.get("/cc/status", headers={"traceparent": f"00-{TRACE}-{CALLER}-00"})
        assert not traced.ended("GET /cc/status")

    async def test_a_handler_that_fails_is_seen(self, traced: Traced, eventually) -> None:
        """Each attempt is a span of its own, with what went wrong."""
        await traced.core.recorder.record(new_event(module="cc", type="step", data={"fails": True}))

        async def twice() -> bool:
            return len(traced.ended("handle g")) == 2

        await eventually(twice)
        for span in traced.ended("handle g"):
            assert not span.status.is_ok
            assert span.status.description == "ValueError"
            assert [one.name for one in span.events] == ["exception"]


class TestCollector:
    """What is sent, and where."""

    async def test_spans_reach_the_collector_before_the_end(self, unused_tcp_port: int) -> None:
        """The standard's own path and form, at the latest when COS stops."""
        got: list[tuple[str, bytes]] = []

        async def collect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            length = int(head.split("content-length: ")[1].split("\r\n")[0])
            got.append((head.split("\r\n")[0], await reader.readexactly(length)))
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
            await writer.drain()
            writer.close()

        url = f"http://127.0.0.1:{unused_tcp_port}/v1/traces"
        server = await asyncio.start_server(collect, "127.0.0.1", unused_tcp_port)
        async with server, spans(url) as telemetry:
            assert telemetry is not None
            with telemetry.span("one", parent=None):
                pass
        ((line, body),) = got
        assert line == "post /v1/traces http/1.1"
        assert b"service.name" in body

    async def test_nobody_collects(self, unused_tcp_port: int) -> None:
        """COS ends all the same."""
        async with asyncio.timeout(15), spans(f"http://127.0.0.1:{unused_tcp_port}/v1/traces") as telemetry:
            assert telemetry is not None
            with telemetry.span("one", parent=None):
                pass

    async def test_off_is_nothing(self) -> None:
        async with spans(None) as telemetry:
            assert telemetry is None

    def test_off_loads_nothing(self) -> None:
        """Starting costs what it cost before."""
        found = subprocess.run(
            [
                sys.executable,
                "-c",
                "import sys, cos.runtime.parts, cos.runtime.up; print('cos.common.telemetry' in sys.modules)",
            ],
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        assert found.stdout.strip() == "False"
