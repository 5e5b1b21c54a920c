"""Measures what spans cost a recorded event: with a tracer that sends nowhere, against none at all."""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path

import uvloop
from harness import Comparison, compare, table
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from sqlalchemy.ext.asyncio import AsyncSession

from cos.backend.cc.logging import log_l1
from cos.common import log
from cos.common.telemetry import Telemetry
from cos.config import load_settings
from cos.infra.folder import DataFolder
from cos.migrations.apply import migrate
from cos.runtime.core import Core
from cos.runtime.servers import Servers


class Nowhere(SpanExporter):
    """Takes spans and forgets them."""

    def export(self, _spans: object) -> SpanExportResult:
        """Say that they arrived."""
        return SpanExportResult.SUCCESS


async def measure(rounds: int) -> list[Comparison]:
    """Compare `log_l1` with spans and without, on the same servers; and without against itself, for the noise."""
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(Nowhere()))
    with tempfile.TemporaryDirectory() as folder:
        settings = load_settings(data_dir=Path(folder), log_level="error")
        async with AsyncExitStack() as stack:
            place = DataFolder.open(settings.data_dir)
            servers = await stack.enter_async_context(
                Servers(settings=settings, folder=place, progress=lambda _line: None)
            )
            await migrate(servers.postgres.url)

            async def core(telemetry: Telemetry | None) -> Core:
                return await stack.enter_async_context(
                    Core(
                        settings=settings,
                        database_url=servers.postgres.url,
                        redis_url=servers.redis.url,
                        worker=False,
                        telemetry=telemetry,
                    )
                )

            off, again = await core(None), await core(None)
            on = await core(Telemetry(tracer=provider.get_tracer("cos")))

            def writer(one: Core):  # noqa: ANN202  (a callable of the harness)
                async def write() -> None:
                    session: AsyncSession
                    async with one.sessions() as session, session.begin():
                        await log_l1(session, "step", {"n": 1}, module="bench")

                return write

            found = [
                await compare(
                    writer(subject), writer(off), rounds=rounds, inner=200, name=f"log_l1, spans {name}"
                )
                for subject, name in ((again, "off against off"), (on, "on against off"))
            ]
    await asyncio.to_thread(provider.shutdown)
    return found


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    given = parser.parse_args()
    log.configure(level="error", shape="json")
    found = uvloop.run(measure(given.rounds))
    print(table(found))


if __name__ == "__main__":
    main()
