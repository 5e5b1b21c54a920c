"""Measures the API against the least that a server must do: a bare FastAPI route, a bare Starlette route that inserts.

    python bench/api.py [--rounds 12]

COS and its floors are served by the same process, each on its own port, and take turns; the client is another process
and as thin as can be, so that what is measured is the server.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import uvloop
from fastapi import FastAPI
from harness import compare, quantile, save, table
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from cos.backend.app import create_app, with_edge
from cos.common import log
from cos.config import load_settings
from cos.infra.folder import DataFolder
from cos.runtime.core import Core
from cos.runtime.rubbish import settle
from cos.runtime.server import ApiServer, bind
from cos.runtime.servers import Servers

ROOT = Path(__file__).parent.parent
CLIENTS = 32
REQUESTS_PER_SECOND = 100
EVENT = {"type": "bench.row", "module": "bench", "data": {"file": "src/ch01.md", "note": "x" * 150}}
FLOOR_TABLE = """
    CREATE TABLE IF NOT EXISTS bench_floor (
        id uuid PRIMARY KEY, module text NOT NULL, type text NOT NULL, data json NOT NULL,
        time timestamptz NOT NULL DEFAULT now()
    )
"""
FLOOR_INSERT = "INSERT INTO bench_floor (id, module, type, data) VALUES ($1, $2, $3, $4)"
#: What other programs and the page ask for all the time.
NAMED = (
    ("GET", "/cc/status"),
    ("GET", "/cc/health"),
    ("GET", "/cc/system/health"),
    ("GET", "/cc/modules"),
    ("GET", "/cc/config"),
    ("GET", "/cc/mem0/scratch/notes"),
    ("GET", "/events?limit=20&order=desc"),
    ("GET", "/cc/groups"),
    ("POST", "/events"),
)


class Connection:
    """One kept connection; sends a request, reads its answer, and checks that it is good."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._host, self._port = str(parts.hostname), int(parts.port or 80)
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def send(self, method: str, path: str, body: object = None) -> None:
        """Send one request; raises RuntimeError unless its answer is good."""
        if self._streams is None:
            self._streams = await asyncio.open_connection(self._host, self._port)
        reader, writer = self._streams
        content = b"" if body is None else json.dumps(body).encode()
        head = f"{method} {path} HTTP/1.1\r\nhost: {self._host}:{self._port}\r\n"
        if content:
            head += f"content-type: application/json\r\ncontent-length: {len(content)}\r\n"
        writer.write(head.encode() + b"\r\n" + content)
        answer = await reader.readuntil(b"\r\n\r\n")
        if answer[9:10] != b"2":
            raise RuntimeError(answer.decode())
        length = answer.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]
        await reader.readexactly(int(length))


class Crowd:
    """Connections that take turns at being free."""

    def __init__(self, url: str, method: str, path: str, body: object = None) -> None:
        self._url = url
        self._free: list[Connection] = []
        self._request = (method, path, body)

    async def __call__(self) -> None:
        """Send the request over a connection that is free; one more is opened where none is."""
        connection = self._free.pop() if self._free else Connection(self._url)
        await connection.send(*self._request)
        self._free.append(connection)


def bare_fastapi() -> FastAPI:
    app = FastAPI()

    @app.get("/status")
    async def status() -> dict[str, object]:
        return {"status": "running", "version": "0.1.0", "uptime_seconds": 12.5, "records": 100, "causes": []}

    return app


def bare_insert(pool: asyncpg.Pool) -> Starlette:
    async def insert(request: Request) -> JSONResponse:
        event = await request.json()
        row = uuid.uuid4()
        await pool.execute(FLOOR_INSERT, row, event["module"], event["type"], json.dumps(event["data"]))
        return JSONResponse({"id": str(row)}, status_code=201)

    return Starlette(routes=[Route("/events", insert, methods=["POST"])])


async def serve(path: Path) -> None:
    """Serve COS and both floors until the input ends."""
    settings = load_settings(data_dir=path, log_level="error")
    log.configure(level=settings.log_level, shape=settings.log_format)
    async with (
        Servers(settings=settings, folder=DataFolder.open(path), progress=lambda _line: None) as servers,
        Core(settings=settings, database_url=servers.postgres.url, redis_url=servers.redis.url) as core,
        asyncpg.create_pool(servers.postgres.url, min_size=CLIENTS, max_size=CLIENTS) as pool,
    ):
        await pool.execute(FLOOR_TABLE)
        apps = (with_edge(create_app(core.services())), bare_fastapi(), bare_insert(pool))
        running = [ApiServer(app=app, listener=bind(0), stop_timeout_seconds=1) for app in apps]
        for one in running:
            await one.start()
        settle()
        print(json.dumps([one.url for one in running]), flush=True)
        await asyncio.to_thread(sys.stdin.read)
        for one in running:
            await one.stop()


async def steady(send: Callable[[], Awaitable[None]], *, seconds: float) -> list[float]:
    """Send at a steady rate, whatever the answers take; gives the latencies in ms, from when each was due."""
    began, latencies, pending = time.perf_counter(), [], set()

    async def one(due: float) -> None:
        await send()
        latencies.append(1000 * (time.perf_counter() - due))

    for number in range(int(seconds * REQUESTS_PER_SECOND)):
        due = began + number / REQUESTS_PER_SECOND
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        task = asyncio.create_task(one(due))
        pending.add(task)
        task.add_done_callback(pending.discard)
    await asyncio.gather(*pending)
    return sorted(latencies)


async def measure(urls: list[str], *, rounds: int) -> None:
    cos, fastapi, starlette = urls
    results = [
        await compare(
            Crowd(cos, "GET", "/cc/status"),
            Crowd(fastapi, "GET", "/status"),
            rounds=rounds,
            inner=800,
            workers=8,
            name="GET /cc/status, 8 clients; at least 0.9",
        ),
        await compare(
            Crowd(cos, "POST", "/events", EVENT),
            Crowd(starlette, "POST", "/events", EVENT),
            rounds=rounds,
            inner=1600,
            workers=CLIENTS,
            name="POST /events, 32 clients; at least 1.0",
        ),
    ]
    save(results, ROOT / "bench" / "results" / "api.json")
    print(table(results))
    print("\n| at 100 requests/s | p50 ms | p95 ms (under 5) |\n| --- | --- | --- |")
    for method, path in NAMED:
        crowd = Crowd(cos, method, path, EVENT if method == "POST" else None)
        await steady(crowd, seconds=0.5)  # each connection to Postgres prepares its statements once
        found = await steady(crowd, seconds=4)
        print(f"| {method} {path} | {quantile(found, 0.5):.2f} | {quantile(found, 0.95):.2f} |", flush=True)


async def whole(rounds: int) -> None:
    with tempfile.TemporaryDirectory(prefix="cos-bench-") as folder:
        child = await asyncio.create_subprocess_exec(
            *(sys.executable, __file__, "--serve", folder),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        if child.stdout is None or child.stdin is None:
            raise RuntimeError("the server has no output")
        try:
            await measure(json.loads(await child.stdout.readline()), rounds=rounds)
        finally:
            child.stdin.close()
            await child.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--serve", type=Path)
    options = parser.parse_args()
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    uvloop.run(serve(options.serve) if options.serve else whole(options.rounds))


if __name__ == "__main__":
    main()
