"""Runs a whole COS under a steady load for an hour, and looks whether anything grows: memory, descriptors, lag.

    make soak [ARGS='--minutes 60 --rate 40']

A real `cos up` with its own durable servers; writers over HTTP, three consumer groups, a projection, a webhook to a
receiver of ours, ten readers of the live feed, and somebody who looks at every page. The first quarter warms up.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import psutil
import uvloop
from reader import FeedReader

COS = Path(sys.executable).parent / "cos"
READERS = 10
SAMPLE_SECONDS = 10.0
#: What the median of the last quarter may be above that of the second: a leak of one object an event is far more.
MORE_MIB, MORE_DESCRIPTORS, LAG_EVENTS = 16, 10, 1_000
PAGES = ("/", "/ui/events", "/ui/readers", "/ui/system", "/cc/groups", "/cc/health/enhanced", "/metrics")


class Receiver:
    """Takes webhooks: reads a request, answers 200, counts."""

    def __init__(self) -> None:
        self.calls = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer each request of one connection."""
        with suppress(OSError, asyncio.IncompleteReadError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                length = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0])
                await reader.readexactly(length)
                self.calls += 1
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
                await writer.drain()
        writer.close()


class Soak:
    """One run: a load, and samples of what could grow."""

    def __init__(self, client: httpx.AsyncClient, told: dict[str, Any]) -> None:
        self.client = client
        self.written = 0
        self.samples: list[dict[str, float]] = []
        self._api = psutil.Process(told["api"]["pid"])
        self._redis = psutil.Process(told["redis"]["pid"])
        self._postgres = psutil.Process(told["postgres"]["pid"])

    async def write(self, seconds: float, rate: int) -> None:
        """Record at a steady rate: half alone, half in lots of ten."""
        began, number = time.monotonic(), 0
        while (due := number / rate) < seconds:
            await asyncio.sleep(max(0.0, began + due - time.monotonic()))  # house: sleep (the rate itself)
            lot = 1 if number % 20 < 10 else 10
            lines = "".join(self._line(number + n) for n in range(lot))
            answer = await self.client.post(
                "/events", content=lines, headers={"content-type": "application/x-ndjson"}
            )
            answer.raise_for_status()
            self.written += lot
            number += lot

    @staticmethod
    def _line(number: int) -> str:
        event = {
            "type": "soak",
            "module": f"m{number % 3}",
            "subject": f"s{number % 50}",
            "data": {"n": number, "text": "x" * 300},
        }
        return json.dumps(event) + "\n"

    async def look(self) -> None:
        """Ask for every page, now and then."""
        while True:
            for page in PAGES:
                (await self.client.get(page)).raise_for_status()
                await asyncio.sleep(1)  # house: sleep (a person's pace)

    async def watch(self) -> None:
        """Take a sample every ten seconds."""
        while True:
            await asyncio.sleep(SAMPLE_SECONDS)  # house: sleep (the pace of the samples)
            self.samples.append(await self.sample())

    async def sample(self) -> dict[str, float]:
        """Measure what could grow."""
        groups = (await self.client.get("/cc/groups")).json()
        servers = sum(one.memory_info().rss for one in self._postgres.children(recursive=True))
        return {
            "COS MiB": self._api.memory_info().rss / 2**20,
            "COS descriptors": self._api.num_fds(),
            "Postgres backends": len(self._postgres.children()),
            "Postgres MiB": servers / 2**20,
            "Redis MiB": self._redis.memory_info().rss / 2**20,
            "lag": max(one["lag_events"] for one in groups),
            "events": self.written,
        }

    def verdict(self) -> list[str]:
        """Print how it went, and give what grew."""
        quarter = len(self.samples) // 4
        grown = []
        for name in self.samples[0]:
            values = [one[name] for one in self.samples]
            second, last = (
                statistics.median(values[quarter : 2 * quarter]),
                statistics.median(values[3 * quarter :]),
            )
            say(f"  {name:<18} {second:>10,.1f} {last:>10,.1f}   most {max(values):,.1f}")
            most = {"COS MiB": MORE_MIB, "COS descriptors": MORE_DESCRIPTORS}.get(name)
            if most is not None and last - second > most:
                grown.append(f"{name} grew from {second:,.1f} to {last:,.1f}")
        if self.samples[-1]["lag"] > LAG_EVENTS:
            grown.append(f"a group is {self.samples[-1]['lag']:,.0f} events behind")
        return grown


def say(text: str) -> None:
    """Tell the person who waits."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


async def cos(*arguments: str, env: dict[str, str]) -> str:
    """Run a command of COS; gives what it prints."""
    child = await asyncio.create_subprocess_exec(
        str(COS), *arguments, env={**os.environ, **env}, stdout=asyncio.subprocess.PIPE
    )
    out, _ = await child.communicate()
    if child.returncode != 0:
        raise SystemExit(f"cos {arguments[0]} ended with {child.returncode}")
    return out.decode()


async def run(folder: Path, given: argparse.Namespace) -> list[str]:
    """Run it all; gives what was wrong, nothing if all is well."""
    env = {
        "COS_DATA_DIR": str(folder),
        "COS_SUBSCRIBERS": "soak_highway",
        "COS_WEBHOOK_ALLOW": "127.0.0.0/8",
        "COS_STREAM_LENGTH": "20000",
        "PYTHONPATH": str(Path(__file__).parent),
    }
    receiver = Receiver()
    server = await asyncio.start_server(receiver.serve, "127.0.0.1", 0)
    await cos("up", "--detach", "--port", str(given.port), env=env)
    try:
        told = json.loads(await cos("status", "--json", env=env))
        readers = [FeedReader(port=given.port, since="0-0") for _ in range(READERS)]
        async with httpx.AsyncClient(base_url=told["api"]["url"], timeout=30, trust_env=False) as client:
            hook = {"url": f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/", "types": ["soak"]}
            (await client.post("/cc/webhooks", json=hook)).raise_for_status()
            soak = Soak(client, told)
            for one in readers:
                one.start()
            around = [asyncio.create_task(soak.look()), asyncio.create_task(soak.watch())]
            try:
                await soak.write(given.minutes * 60, given.rate)
                wrong = await complete(soak, told, readers, receiver)
                wrong += [f"{one.exception()!r}" for one in around if one.done()]
            finally:
                for task in around:
                    task.cancel()
                await asyncio.gather(*around, *(one.stop() for one in readers), return_exceptions=True)
            return [*soak.verdict(), *wrong]
    finally:
        server.close()
        await cos("down", env=env)


async def complete(
    soak: Soak, told: dict[str, Any], readers: list[FeedReader], receiver: Receiver
) -> list[str]:
    """Wait a minute for everybody to have everything; gives who has not."""
    connection = await asyncpg.connect(told["postgres"]["url"])
    try:
        until = time.monotonic() + 60
        while True:
            groups = (await soak.client.get("/cc/groups")).json()
            await connection.execute(
                "SELECT set_config('search_path', table_schema, false) FROM information_schema.tables "
                "WHERE table_name = 'tally'"
            )
            counted = await connection.fetchval("SELECT sum(events) FROM tally")
            wrong = [
                f"{what} of {soak.written:,} events at {who}"
                for who, what in (
                    (
                        "the log",
                        await connection.fetchval("SELECT count(*) FROM l1.record WHERE type = 'soak'"),
                    ),
                    ("the projection", counted),
                    ("the webhook's receiver", receiver.calls),
                )
                if what != soak.written
            ]
            wrong += [
                f"the group {one['name']} is {one['lag_events']} behind"
                for one in groups
                if one["lag_events"]
            ]
            repeated = [one for one in readers if len(set(one.positions)) != len(one.positions)]
            wrong += [
                f"a reader of the feed got {len(one.positions):,}"
                for one in readers
                if len(one.positions) < soak.written
            ]
            if not wrong or time.monotonic() > until:
                return wrong + ["a reader of the feed got an event twice"] * bool(repeated)
            await asyncio.sleep(0.5)  # house: sleep (a poll with a deadline)
    finally:
        await connection.close()


def main() -> None:
    """Read the arguments, run, tell."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--rate", type=int, default=40, help="events a second")
    parser.add_argument("--port", type=int, default=0, help="of the API; 0 for a free one")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="cos-soak-") as folder:
        wrong = uvloop.run(run(Path(folder), given))
    say("\n".join(wrong) if wrong else "Nothing grew, and everybody got everything.")
    raise SystemExit(bool(wrong))


if __name__ == "__main__":
    main()
