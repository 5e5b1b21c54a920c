"""Measures the live feed: a thousand readers of `GET /events/stream` on one process; prints the figures."""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import resource
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx
import psutil
import uvloop
from harness import quantile

COS = Path(sys.executable).parent / "cos"
_SENT = re.compile(rb'"at":([1-9]\d*),')
_BEGIN = b"\nid: "  # never first in an answer: the headers stand before it
#: Readers whose every event is timed; the others only count, so that the reading side does not become the measure.
_TIMED = 50


class Reader(asyncio.Protocol):
    """One reader: counts the events that it gets, and times them if it is asked to."""

    def __init__(self, *, timed: bool) -> None:
        self.events = 0
        self.ready = False
        self.closed = False
        self.delays: list[float] = []
        self._timed = timed
        self._rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for the stream."""
        transport.write(b"GET /events/stream?module=feed HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        """Count what came."""
        self.ready = True
        text = self._rest + data
        if self._timed:
            now = time.monotonic_ns()
            end = 0
            for found in _SENT.finditer(text):
                self.delays.append((now - int(found.group(1))) / 1e6)
                end = found.end()
            self.events = len(self.delays)
            self._rest = text[max(end, len(text) - 40) :]
        else:
            self.events += text.count(_BEGIN)
            self._rest = text[1 - len(_BEGIN) :]

    def connection_lost(self, exc: Exception | None) -> None:
        """Remember that it ended."""
        del exc
        self.closed = True


async def _measure(port: int, server: psutil.Process, clients: int, rate: int, seconds: float) -> None:
    loop = asyncio.get_running_loop()
    base = f"http://127.0.0.1:{port}"
    async with httpx.AsyncClient(base_url=base, timeout=20, trust_env=False) as http:
        event = {"type": "bench.row", "module": "feed", "data": {"at": 0, "note": "x" * 150}}
        for _ in range(100):
            (await http.post("/events", json=event)).raise_for_status()
        before = server.memory_info().rss
        readers = []
        for at in range(0, clients, 50):
            many = [
                loop.create_connection(
                    lambda n=n: Reader(timed=n % (clients // _TIMED) == 0), "127.0.0.1", port
                )
                for n in range(at, min(at + 50, clients))
            ]
            readers += [reader for _, reader in await asyncio.gather(*many)]
        while not all(one.ready for one in readers):  # noqa: ASYNC110  (a measure, not a server)
            await asyncio.sleep(0.05)
        connected = server.memory_info().rss
        cpu = sum(server.cpu_times()[:2])
        began, sent = time.monotonic(), 0

        async def post() -> None:
            data = {"at": time.monotonic_ns(), "note": "x" * 150}
            (await http.post("/events", json=event | {"data": data})).raise_for_status()

        async with asyncio.TaskGroup() as tasks:
            while time.monotonic() - began < seconds:  # at its times, however long an answer takes
                tasks.create_task(post())
                sent += 1
                await asyncio.sleep(max(0.0, began + sent / rate - time.monotonic()))
        took = time.monotonic() - began
        until = time.monotonic() + 20
        while time.monotonic() < until and any(one.events < sent for one in readers):  # noqa: ASYNC110  (as above)
            await asyncio.sleep(0.02)
        drained = time.monotonic() - began
        cpu = sum(server.cpu_times()[:2]) - cpu
        loaded = server.memory_info().rss
    delays = sorted(delay for one in readers for delay in one.delays)
    whole = sum(one.events == sent for one in readers)
    closed = sum(one.closed for one in readers)
    print(
        f"live feed, {clients:,} readers: {sent / took:.0f} events/s sent, {whole:,} readers got each of {sent}, "
        f"{closed} were let go; {sum(one.events for one in readers) / drained:,.0f} deliveries/s; delay p50 "
        f"{quantile(delays, 0.5):.0f} ms, p95 {quantile(delays, 0.95):.0f} ms (target 250); memory a reader "
        f"{(connected - before) / clients / 1024:.0f} KiB connected, {(loaded - before) / clients / 1024:.0f} KiB "
        f"under load (target 100); CPU of the server {100 * cpu / drained:.0f} %",
        flush=True,
    )


def main() -> None:
    """Start a COS, measure, stop it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=1000)
    parser.add_argument("--rate", type=int, default=100, help="events a second")
    parser.add_argument("--seconds", type=float, default=8.0)
    given = parser.parse_args()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 8192)), hard))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory(prefix="cos-bench-") as name:
        command = [str(COS), "up", "--data-dir", name, "--port", str(port)]
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as process:
            try:
                assert process.stdout is not None  # noqa: S101  (it is piped)
                for line in process.stdout:
                    if "ready" in line:
                        break
                run = json.loads((Path(name) / "run.json").read_text())
                server = psutil.Process(run["api"]["pid"])
                uvloop.run(_measure(port, server, given.clients, given.rate, given.seconds))
            finally:
                process.terminate()
                process.wait(30)


if __name__ == "__main__":
    main()
