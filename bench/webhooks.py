"""Measures webhooks against a bare loop of the same HTTP client posting the same bodies, in turns within one run.

    python bench/webhooks.py

Both sides post to the same receiver in another process. The floor signs nothing, reads no log and writes nothing down.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path
from typing import Any

import asyncpg
import httpcore
import uvloop
from harness import bootstrap

from cos.common import log
from cos.common.addresses import Allowance
from cos.config import load_settings
from cos.infra.folder import DataFolder
from cos.memory.event import new_event
from cos.memory.webhooks.endpoint import Policy
from cos.runtime.core import Core
from cos.runtime.servers import Servers
from cos.runtime.webhooks import Webhooks

DATA = {"file": "src/ch01.md", "author": "author-1", "lines_added": 3, "note": "x" * 150}
ANSWER = b"HTTP/1.1 204 No Content\r\n\r\n"
#: A run that takes longer is broken.
LIMIT_SECONDS = 120
ADD = """
    INSERT INTO webhook.endpoint (id, url, description, modules, types, subjects, state, state_since, xact, seq,
                                  created_at, changed_at)
    SELECT $1, $2, '', ARRAY[$3], '{}', '{}', 'active', now(), '0'::xid8, 0, now(), now()
"""
DELIVERED = "SELECT sum(delivered) FROM webhook.endpoint"
ADD_KEY = """
    INSERT INTO webhook.secret (id, endpoint_id, secret, created_at)
    VALUES ($1, $1, 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw', now())
"""


class Receiver(asyncio.Protocol):
    """Answers every request, and reads no more of it than it must."""

    def __init__(self) -> None:
        self.held = b""

    def connection_made(self, transport: Any) -> None:
        """Keep where to answer."""
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer each whole request."""
        self.held += data
        while (end := self.held.find(b"\r\n\r\n")) >= 0:
            length = int(self.held[:end].lower().split(b"content-length: ")[1].split(b"\r\n")[0])
            if len(self.held) < end + 4 + length:
                return
            self.held = self.held[end + 4 + length :]
            self.transport.write(ANSWER)


async def receive() -> None:
    """Serve in a process of its own; prints its port."""
    server = await asyncio.get_running_loop().create_server(Receiver, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


async def bare(port: int, body: bytes, count: int, endpoints: int) -> float:
    """The floor; gives posts a second."""
    async with httpcore.AsyncConnectionPool(max_connections=endpoints) as pool:

        async def posts(path: str) -> None:
            for _ in range(count // endpoints):
                answer = await pool.request("POST", f"http://127.0.0.1:{port}/{path}", content=body)
                if answer.status != 204:
                    raise RuntimeError(answer.status)

        began = time.perf_counter()
        await asyncio.gather(*(posts(str(number)) for number in range(endpoints)))
        return count / (time.perf_counter() - began)


async def served(core: Core, port: int, module: str, count: int, endpoints: int) -> float:
    """Ours: from the start of the process's webhooks to the commit of the last delivery; gives deliveries a second."""
    connection = await asyncpg.connect(core.database_url)
    await connection.execute("TRUNCATE webhook.endpoint CASCADE")
    for number in range(endpoints):
        key = uuid.uuid4()
        await connection.execute(ADD, key, f"http://127.0.0.1:{port}/{number}", module)
        await connection.execute(ADD_KEY, key)
    webhooks = Webhooks(
        database_url=core.database_url, policy=Policy(), allowance=Allowance.parse("127.0.0.1")
    )
    began = time.perf_counter()
    async with asyncio.timeout(LIMIT_SECONDS), webhooks:
        while await connection.fetchval(DELIVERED) < count:  # noqa: ASYNC110  (Postgres is what is asked)
            await asyncio.sleep(0.01)
        took = time.perf_counter() - began
    await connection.close()
    return count / took


async def main(rounds: int, count: int) -> None:
    """Measure with one endpoint and with twenty, and print the ratios."""
    command = [sys.executable, __file__, "--receive"]
    receiver = subprocess.Popen(command, stdout=subprocess.PIPE)  # noqa: ASYNC220  (nothing else runs yet)
    with tempfile.TemporaryDirectory(prefix="cos-bench-") as folder:
        try:
            port = int(receiver.stdout.readline())
            await measure(Path(folder) / "data", port, rounds, count)
        finally:
            receiver.kill()
            receiver.wait()


async def measure(path: Path, port: int, rounds: int, count: int) -> None:
    """Run both sides in turns over a durable COS."""
    settings = load_settings(data_dir=path, log_level="error")
    log.configure(level=settings.log_level, shape=settings.log_format)
    async with (
        Servers(settings=settings, folder=DataFolder.open(path), progress=lambda _line: None) as servers,
        # Without its own worker: nothing else serves webhooks.
        Core(
            settings=settings, database_url=servers.postgres.url, redis_url=servers.redis.url, worker=False
        ) as core,
    ):
        for endpoints in (1, 20):
            module = f"bench{endpoints}"
            events = [
                new_event(type="bench.row", module=module, data=DATA, subject="s")
                for _ in range(count // endpoints)
            ]
            await core.recorder.record_many(events)
            body = b"x" * 600
            ratios, ours, floor = [], [], []
            for number in range(-1, rounds):
                sides = {}
                for side in ("ours", "floor") if number % 2 else ("floor", "ours"):
                    if side == "ours":
                        sides[side] = await served(core, port, module, count, endpoints)
                    else:
                        sides[side] = await bare(port, body, count, endpoints)
                if number >= 0:
                    ours.append(sides["ours"])
                    floor.append(sides["floor"])
                    ratios.append(sides["ours"] / sides["floor"])
            low, high = bootstrap(ratios, seed=0)
            print(
                f"{endpoints} endpoints: {statistics.median(ours):,.0f} deliveries/s, bare "
                f"{statistics.median(floor):,.0f} posts/s, "
                f"ratio {statistics.median(ratios):.2f} ({low:.2f} to {high:.2f})"
            )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--receive", action="store_true", help="be the receiver")
    given = parser.parse_args()
    uvloop.run(receive() if given.receive else main(given.rounds, given.count))
