"""Measures what the gate costs a request on loopback: the app behind it against the app alone, without a socket."""

from __future__ import annotations

import argparse
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import uvloop
from harness import Comparison, compare, table

from cos.backend.app import create_app, with_edge
from cos.backend.edge import Edge
from cos.common import log
from cos.config import load_settings
from cos.infra.folder import DataFolder
from cos.migrations.apply import migrate
from cos.runtime.core import Core
from cos.runtime.servers import Servers

_HEADERS = [
    (b"host", b"127.0.0.1:8000"),
    (b"user-agent", b"bench"),
    (b"accept", b"*/*"),
    (b"content-type", b"application/json"),
]
_EVENT = b'{"type":"chapter.saved","module":"bench","data":{"words":2031}}'


def _caller(app: Any, method: str, path: str, body: bytes = b"") -> Any:
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [*_HEADERS, (b"content-length", str(len(body)).encode())],
        "client": ("127.0.0.1", 4000),
        "server": ("127.0.0.1", 8000),
        "scheme": "http",
        "http_version": "1.1",
    }

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(_message: Any) -> None:
        pass

    async def call() -> None:
        await app(dict(scope), receive, send)

    return call


async def measure(rounds: int) -> list[Comparison]:
    """Compare the two routes that are called most, with the gate and without."""
    with tempfile.TemporaryDirectory() as folder:
        settings = load_settings(data_dir=Path(folder), log_level="error")
        async with AsyncExitStack() as stack:
            servers = await stack.enter_async_context(
                Servers(
                    settings=settings, folder=DataFolder.open(settings.data_dir), progress=lambda _line: None
                )
            )
            await migrate(servers.postgres.url)
            core = await stack.enter_async_context(
                Core(
                    settings=settings,
                    database_url=servers.postgres.url,
                    redis_url=servers.redis.url,
                    worker=False,
                )
            )
            app = create_app(core.services())
            gated, bare = with_edge(app), Edge(app)
            asked = (("GET", "/cc/status", b"", 500), ("POST", "/events", _EVENT, 100))
            return [
                await compare(
                    _caller(gated, method, path, body),
                    _caller(bare, method, path, body),
                    rounds=rounds,
                    inner=inner,
                    name=f"{method} {path}, behind the gate",
                )
                for method, path, body, inner in asked
            ]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    given = parser.parse_args()
    log.configure(level="error", shape="json")
    print(table(uvloop.run(measure(given.rounds))))


if __name__ == "__main__":
    main()
