"""Measures a backup of a running COS: its speed, and what who uses COS meanwhile notices of it.

    python bench/backup.py [--megabytes 600] [--rounds 4]

Clients send 100 requests a second (half of them record, half read) all the time. Windows without and with a backup take
turns; each pair gives one ratio of the 95th percentiles of the latency.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import asyncpg
import httpx
import uvloop
from harness import bootstrap, quantile

COS = [sys.executable, "-m", "cos.cli.main"]
REQUESTS_PER_SECOND = 100
#: Hardly compressible, as prose is when it is stored in small pieces: 1,500 bytes a record.
FILL = """
    INSERT INTO l1.record (id, module, type, level, data, time, recorded_at)
    SELECT gen_random_uuid(), 'bench', 'bench.row', 'info',
           to_json((SELECT string_agg(md5(n::text || '-' || k::text), '') FROM generate_series(1, 46) AS k)),
           now(), now()
    FROM generate_series(1, $1::int) AS n
"""
ROWS_AT_ONCE = 20_000


def command(*arguments: str) -> str:
    ran = subprocess.run([*COS, *arguments], capture_output=True, text=True, check=True)
    return ran.stdout


async def fill(url: str, megabytes: int) -> None:
    """Write that much into the log."""
    connection = await asyncpg.connect(url)
    for _ in range(max(1, megabytes * 1_000_000 // (1_500 * ROWS_AT_ONCE))):
        await connection.execute(FILL, ROWS_AT_ONCE)
    await connection.execute("CHECKPOINT")
    await connection.close()


async def load(client: httpx.AsyncClient, until: asyncio.Event) -> list[float]:
    """Send requests at a steady rate, whatever the answers take; gives their latencies from when each was due."""
    began, number, latencies = time.perf_counter(), 0, []
    pending: set[asyncio.Task[None]] = set()

    async def one(due: float, number: int) -> None:
        if number % 2:
            answer = await client.get("/cc/status")
        else:
            answer = await client.post(
                "/events", json={"type": "bench.load", "module": "load", "data": number}
            )
        answer.raise_for_status()
        latencies.append(time.perf_counter() - due)

    while not until.is_set():
        due = began + number / REQUESTS_PER_SECOND
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        task = asyncio.create_task(one(due, number))
        pending.add(task)
        task.add_done_callback(pending.discard)
        number += 1
    await asyncio.gather(*pending)
    return latencies


async def window(client: httpx.AsyncClient, work: asyncio.Task[object]) -> list[float]:
    """Give the latencies while some work goes on."""
    until = asyncio.Event()
    work.add_done_callback(lambda _: until.set())
    latencies = await load(client, until)
    await work
    return sorted(1000 * one for one in latencies)


async def backed_up(path: Path) -> dict[str, object]:
    process = await asyncio.create_subprocess_exec(
        *COS, "backup", str(path), "--json", stdout=subprocess.PIPE
    )
    out, _ = await process.communicate()
    return json.loads(out)


async def measure(url: str, folder: Path, rounds: int) -> None:
    ratios, rates, quiet_p95, busy_p95 = [], [], [], []
    async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=30) as client:
        await window(client, asyncio.create_task(asyncio.sleep(3)))
        for number in range(rounds):
            quiet = await window(client, asyncio.create_task(asyncio.sleep(4)))
            backup = asyncio.create_task(backed_up(folder / f"{number}.backup"))
            busy = await window(client, backup)
            done = backup.result()
            (folder / f"{number}.backup").unlink()
            rates.append(done["database_bytes"] / 1e6 / done["seconds"])
            quiet_p95.append(quantile(quiet, 0.95))
            busy_p95.append(quantile(busy, 0.95))
            ratios.append(busy_p95[-1] / quiet_p95[-1])
            print(
                f"{rates[-1]:6.0f} MB/s of {done['database_bytes'] / 1e6:.0f} MB in {done['seconds']:.1f} s;"
                f" p95 {quiet_p95[-1]:.2f} → {busy_p95[-1]:.2f} ms, p99 {quantile(quiet, 0.99):.2f} →"
                f" {quantile(busy, 0.99):.2f} ms ({len(busy)} requests)"
            )
    low, high = bootstrap(ratios, seed=0)
    print(
        f"backup: median {statistics.median(rates):.0f} MB/s (at least 50); p95 with a backup / without:"
        f" {statistics.median(ratios):.2f} (90 % interval {low:.2f} to {high:.2f}; under 2)"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=600)
    parser.add_argument("--rounds", type=int, default=4)
    options = parser.parse_args()
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    with tempfile.TemporaryDirectory(prefix="cos-bench-") as folder:
        os.environ |= {"COS_DATA_DIR": f"{folder}/data", "COS_PORT": "0"}
        command("up", "--detach")
        try:
            state = json.loads(command("status", "--json"))
            uvloop.run(fill(state["postgres"]["url"], options.megabytes))
            while json.loads(command("status", "--json"))["relay"]["lag_events"] != 0:
                time.sleep(0.5)
            uvloop.run(measure(state["api"]["url"], Path(folder), options.rounds))
        finally:
            command("down")


if __name__ == "__main__":
    main()
