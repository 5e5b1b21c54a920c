"""Measures each page of the dashboard over a log of a million events against the same page over a thousand."""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import httpx
import uvloop
from harness import Comparison, compare, save, table

from cos.backend.app import create_app, with_edge
from cos.common import log
from cos.config import load_settings
from cos.infra.folder import DataFolder
from cos.memory.position import Position
from cos.migrations.apply import migrate
from cos.runtime.core import Core
from cos.runtime.server import ApiServer, bind
from cos.runtime.servers import Servers

ROOT = Path(__file__).parent.parent
SMALL, LARGE = 1_000, 1_000_000
#: A relay that needs longer than this for all of them is broken.
RELAY_SECONDS = 180

#: One transaction a thousand records, so that positions look as they do in life; `rare` stands in one of 100,000.
FILL = """
    INSERT INTO l1.record (id, xact, seq, module, type, subject, level, data, time, recorded_at)
    OVERRIDING SYSTEM VALUE
    SELECT gen_random_uuid(), (100 + n / 1000)::text::xid8, n, 'm' || n % 7,
           CASE WHEN n % 100000 = 7 THEN 'rare.kind' ELSE 'chapter.saved' END, 'ch' || n % 40, 'info',
           json_build_object('file', 'src/ch01.md', 'words', n, 'note', repeat('x', 120)),
           now() - (($1 - n) || ' seconds')::interval, now()
    FROM generate_series(1, $1::int) AS n
"""
#: Positions come from the past of this cluster; it has to have had one.
AGE = "SELECT pg_current_xact_id()"

#: What a person looks at: the first page of each list, a page far back, and filters that find much, little and nothing.
PAGES = (
    "/",
    "/ui/events",
    "/ui/events?module=m3",
    "/ui/events?before={middle}",
    "/ui/events?type=chapter.*",
    "/ui/events?type=no.such.type",
    "/ui/events?holds=no-such-word",
    "/ui/readers",
    "/ui/letters",
    "/ui/modules",
    "/ui/notes",
    "/ui/system",
)


@asynccontextmanager
async def filled(
    servers: Servers, *, events: int, base: Path
) -> AsyncIterator[tuple[httpx.AsyncClient, str]]:
    """Serve a COS with so many events, in a database and a namespace of its own; gives its client and a position."""
    name = f"events_{events}"
    connection = await asyncpg.connect(servers.postgres.url)
    await connection.execute(f"CREATE DATABASE {name}")  # house: sql (the name is ours)
    await connection.close()
    url = urlsplit(servers.postgres.url)._replace(path=f"/{name}").geturl()
    await migrate(url)
    connection = await asyncpg.connect(url)
    while int(await connection.fetchval(AGE)) < 200 + events // 1000:
        await connection.execute("SELECT")
    await connection.execute(FILL.replace("$1", str(events)))  # house: sql (a number of ours)
    await connection.execute("VACUUM ANALYZE l1.record")
    await connection.close()
    settings = load_settings(data_dir=base / name, log_level="error", redis_namespace=name)
    async with AsyncExitStack() as stack:
        core = await stack.enter_async_context(
            Core(settings=settings, database_url=url, redis_url=servers.redis.url)
        )
        async with asyncio.timeout(RELAY_SECONDS):
            while core.relay.moved < events:  # noqa: ASYNC110  (the bench waits until all is announced)
                await asyncio.sleep(0.1)
        server = ApiServer(
            app=with_edge(create_app(core.services())), listener=bind(0), stop_timeout_seconds=2
        )
        stack.push_async_callback(server.stop)
        await server.start()
        client = await stack.enter_async_context(
            httpx.AsyncClient(base_url=server.url, trust_env=False, timeout=60)
        )
        middle = Position(100 + events // 2 // 1000, events // 2)
        yield client, str(middle)


def getting(client: httpx.AsyncClient, path: str) -> Callable[[], Awaitable[None]]:
    """Make the call that gets one page."""

    async def get() -> None:
        (await client.get(path)).raise_for_status()

    return get


async def measure(base: Path, *, rounds: int) -> list[Comparison]:
    """Compare every page."""
    settings = load_settings(data_dir=base, log_level="error")
    log.configure(level=settings.log_level, shape=settings.log_format)
    async with (
        Servers(settings=settings, folder=DataFolder.open(base), progress=lambda _line: None) as servers,
        filled(servers, events=SMALL, base=base) as (small, small_middle),
        filled(servers, events=LARGE, base=base) as (large, large_middle),
    ):
        return [
            await compare(
                getting(large, path.format(middle=large_middle)),
                getting(small, path.format(middle=small_middle)),
                rounds=rounds,
                inner=10,
                name=path,
            )
            for path in PAGES
        ]


def main() -> None:
    """Print the table; 1 is as fast with a million events as with a thousand."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=12)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="cos-bench-") as folder:
        results = uvloop.run(measure(Path(folder), rounds=given.rounds))
    save(results, ROOT / "bench" / "results" / "dashboard.json")
    print(table(results))


if __name__ == "__main__":
    main()
