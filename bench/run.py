"""Measures COS against its floors, both in the same run; writes bench/results/latest.json and docs/benchmarks.md."""

from __future__ import annotations

import argparse
import asyncio
import gzip
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import psutil
import uvloop
from harness import Comparison, Side, bootstrap, compare, quantile, save, table
from redis.asyncio import Redis

from cos.backend.cc.logging import log_l1
from cos.common import log
from cos.config import load_settings
from cos.infra.folder import DataFolder
from cos.memory.event import new_event
from cos.runtime.core import Core
from cos.runtime.rubbish import settle
from cos.runtime.servers import Servers

ROOT = Path(__file__).parent.parent
REAL_FILE = ROOT.parent / "shared" / "data" / "authoring-events.jsonl.gz"
COS = str(Path(sys.executable).parent / "cos")
DATA = {"file": "src/ch01.md", "author": "author-1", "lines_added": 3, "note": "x" * 150}
TEXT = json.dumps(DATA)

#: The floor's row: the same columns' worth of content, one index, nothing else.
FLOOR_TABLE = """
    CREATE TABLE bench_floor (
        id uuid PRIMARY KEY, module text NOT NULL, type text NOT NULL, data json NOT NULL,
        time timestamptz NOT NULL DEFAULT now()
    )
"""
FLOOR_INSERT = "INSERT INTO bench_floor (id, module, type, data) VALUES ($1, 'bench', 'bench.row', $2)"


@dataclass(frozen=True)
class Figure:
    """One measured figure with its target, for what has no floor that could be interleaved."""

    name: str
    value: str
    target: str


@asynccontextmanager
async def running(path: Path) -> AsyncIterator[Core]:
    """Run a whole durable COS, without its API."""
    settings = load_settings(data_dir=path, log_level="error")
    log.configure(level=settings.log_level, shape=settings.log_format)
    folder = DataFolder.open(path)
    async with (
        Servers(settings=settings, folder=folder, progress=lambda _line: None) as servers,
        Core(settings=settings, database_url=servers.postgres.url, redis_url=servers.redis.url) as core,
    ):
        settle()
        yield core


async def writers(core: Core, *, rounds: int, only: str) -> list[Comparison]:
    """Compare our two ways to write with the bare driver."""
    connections = [await asyncpg.connect(core.database_url) for _ in range(32)]
    await connections[0].execute(FLOOR_TABLE)
    free = [(one, await one.prepare(FLOOR_INSERT)) for one in connections]

    async def autocommit() -> None:
        lane = free.pop()
        await lane[1].fetch(uuid.uuid4(), TEXT)
        free.append(lane)

    async def transaction() -> None:
        lane = free.pop()
        async with lane[0].transaction():
            await lane[1].fetch(uuid.uuid4(), TEXT)
        free.append(lane)

    async def record() -> None:
        await core.recorder.record(new_event(type="bench.row", module="bench", data=DATA))

    async def logged() -> None:
        async with core.sessions() as db:
            await log_l1(db, "bench.row", DATA, module="bench")
            await db.commit()

    # The relay is measured on its own; here it would take the core that the writers share with Postgres.
    await core.relay_looper.stop()
    results = [
        await compare(ours, floor, rounds=rounds, inner=inner, workers=workers, name=name)
        for name, ours, floor, inner, workers in (
            ("Recorder, 32 callers", record, autocommit, 1600, 32),
            ("Recorder, 1 caller", record, autocommit, 200, 1),
            ("log_l1 in a session, one at a time", logged, transaction, 200, 1),
        )
        if name.startswith(only)
    ]
    for one in connections:
        await one.close()
    return results


READER = """
import sys, time, redis
client = redis.Redis.from_url(sys.argv[1])
last = {key: "$" for key in sys.argv[2:]}
for key in last:
    last[key] = client.xinfo_stream(key)["last-generated-id"]
print("ready", flush=True)
while True:
    for key, entries in client.xread(last, block=0) or []:
        for entry, _ in entries:
            last[key.decode()] = entry
            print(time.perf_counter(), flush=True)
"""


async def announced(core: Core, *, rounds: int, inner: int) -> Comparison:
    """Compare the way from the write to another process's read with publishing by hand after the commit."""
    await core.recorder.record(new_event(type="bench.seen", module="seen", data=DATA))
    core.relay_looper.start()
    naive_key = "bench.naive"
    client: Redis = core.redis
    await client.xadd(naive_key, {"event": TEXT})
    number = None
    while number is None:
        number = await core.streams.generation()
        await asyncio.sleep(0.01)
    key = core.streams.key("seen", number)
    while not await client.exists(key):  # noqa: ASYNC110  (as above)
        await asyncio.sleep(0.01)
    reader = await asyncio.create_subprocess_exec(
        sys.executable, "-c", READER, core.redis_url, key, naive_key, stdout=subprocess.PIPE
    )
    lines = reader.stdout
    if lines is None:
        raise RuntimeError("the reader has no output")
    await lines.readline()
    connection = await asyncpg.connect(core.database_url)
    insert = await connection.prepare(FLOOR_INSERT)
    latencies: dict[str, list[list[float]]] = {"ours": [], "naive": []}

    async def seen_after(began: float) -> float:
        return float(await lines.readline()) - began

    async def ours() -> float:
        began = time.perf_counter()
        await core.recorder.record(new_event(type="bench.seen", module="seen", data=DATA))
        return await seen_after(began)

    async def naive() -> float:
        began = time.perf_counter()
        await insert.fetch(uuid.uuid4(), TEXT)
        await client.xadd(naive_key, {"event": TEXT})
        return await seen_after(began)

    for number in range(-1, rounds):
        for name, way in (("ours", ours), ("naive", naive))[:: 1 if number % 2 else -1]:
            block = [await way() for _ in range(inner)]
            if number >= 0:
                latencies[name].append(block)
    reader.kill()
    await reader.wait()
    await connection.close()
    return _latency_comparison("write → read by another process, p95 (lower is better)", latencies)


def _latency_comparison(name: str, latencies: dict[str, list[list[float]]]) -> Comparison:
    def p95(block: list[float]) -> float:
        return quantile(sorted(block), 0.95)

    def side(blocks: list[list[float]]) -> Side:
        every = sorted(1000 * value for block in blocks for value in block)
        return Side(
            per_second=tuple(1 / statistics.mean(block) for block in blocks),
            latency_ms_p50=quantile(every, 0.5),
            latency_ms_p95=quantile(every, 0.95),
            latency_ms_p99=quantile(every, 0.99),
        )

    ratios = [p95(a) / p95(b) for a, b in zip(latencies["ours"], latencies["naive"], strict=True)]
    low, high = bootstrap(ratios, seed=0)
    return Comparison(
        name=name,
        ratios=tuple(ratios),
        ratio=statistics.median(ratios),
        ratio_min=min(ratios),
        ratio_max=max(ratios),
        ratio_low=low,
        ratio_high=high,
        subject=side(latencies["ours"]),
        floor=side(latencies["naive"]),
    )


async def drained(core: Core, *, events: int) -> list[Figure]:
    """Drain a backlog, and see what it costs in memory."""
    await core.relay_looper.stop()
    for _ in range(events // 1000):
        await core.recorder.record_many(
            [new_event(type="bench.row", module="drain", data=DATA) for _ in range(1000)]
        )
    process = psutil.Process()
    while await core.relay.turn() == 0 and core.relay.moved < 1000:
        pass  # attached and warm
    before, moved = process.memory_info().rss, core.relay.moved
    began = time.perf_counter()
    highest = before
    while await core.relay.turn() == 0:
        highest = max(highest, process.memory_info().rss)
    seconds = time.perf_counter() - began
    rate = (core.relay.moved - moved) / seconds
    return [
        Figure(f"relay, backlog of {events:,} drained", f"{rate:,.0f} events/s", "50,000 events/s"),
        Figure("relay, memory while draining", f"+{(highest - before) / 2**20:.1f} MiB", "flat"),
    ]


def _cos(*arguments: str, folder: Path) -> tuple[float, str]:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    began = time.perf_counter()
    done = subprocess.run(
        [COS, *arguments, "--data-dir", str(folder)],
        check=True,
        capture_output=True,
        text=True,
        env=environment,
    )
    return time.perf_counter() - began, done.stdout


def whole_commands(base: Path, *, times: int) -> list[Figure]:
    """Time what a person types."""
    cold, warm, rates, inside, memory = [], [], [], [], []
    lines = gzip.decompress(REAL_FILE.read_bytes()).count(b"\n") if REAL_FILE.exists() else 0
    for number in range(times):
        folder = base / f"up-{number}"
        cold.append(_cos("up", "--detach", "--port", "0", folder=folder)[0])
        if lines:
            seconds, told = _cos("import", "events", str(REAL_FILE), "--json", folder=folder)
            rates.append(lines / seconds)
            inside.append(lines / json.loads(told)["seconds"])
        run = json.loads((folder / "run.json").read_text())
        memory.append(psutil.Process(run["pid"]).memory_info().rss / 2**20)
        _cos("down", folder=folder)
        warm.append(_cos("up", "--detach", "--port", "0", folder=folder)[0])
        _cos("down", folder=folder)
    return [
        Figure("cos up, first start", _seconds(cold), "5 s"),
        Figure("cos up, warm", _seconds(warm), "2 s"),
        Figure(
            "cos import of the real file, from its first line to the last answer",
            _rate(inside),
            "10,000 events/s",
        ),
        Figure("the same with the start of Python and of the command", _rate(rates), ""),
        Figure("resident memory of COS's own process", f"{statistics.median(memory):.0f} MiB", "200 MB"),
    ]


def _seconds(values: list[float]) -> str:
    return f"{statistics.median(values):.2f} s ({min(values):.2f} to {max(values):.2f})"


def _rate(values: list[float]) -> str:
    if not values:
        return "not measured: the file is not here"
    return f"{statistics.median(values):,.0f} events/s ({min(values):,.0f} to {max(values):,.0f})"


#: What stands below it in the page is written by hand, from what the other files of `bench/` print.
END = "\n<!-- `make bench` writes what is above; the other benchmarks are below -->\n"

TARGETS = {
    "Recorder, 32 callers": "at least 2.0, p95 no higher",
    "Recorder, 1 caller": "at least 0.8",
    "log_l1 in a session, one at a time": "at least 0.6",
    "write → read by another process, p95 (lower is better)": "at most 1.3",
}


def page(results: list[Comparison], figures: list[Figure]) -> str:
    """Give docs/benchmarks.md."""
    targets = "\n".join(f"| {name} | {target} |" for name, target in TARGETS.items())
    rows = "\n".join(f"| {one.name} | {one.value} | {one.target} |" for one in figures)
    return f"""# Benchmarks

Written by `make bench`. An absolute figure belongs to the machine and the moment; a ratio compares COS with the least
that any program must do for the same effect, in turns within one run. Durable: `fsync` and `synchronous_commit` on.

## Against the floor

The floors: a bare asyncpg connection (32 of them for 32 callers) with a prepared single-row insert into a table with
one index, in autocommit, or between BEGIN and COMMIT for `log_l1`; and an insert followed by a bare XADD, which loses
events, for the way to another process.

{table(results)}

| | target |
| --- | --- |
{targets}

## Whole figures

| | measured | target |
| --- | --- | --- |
{rows}
"""


async def _measure(base: Path, *, rounds: int, only: str) -> tuple[list[Comparison], list[Figure]]:
    figures: list[Figure] = []
    async with running(base / "core") as core:
        results = await writers(core, rounds=rounds, only=only)
        if "write → read".startswith(only):
            results.append(await announced(core, rounds=rounds, inner=100))
        if not only:
            figures = await drained(core, events=50_000)
    return results, figures


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20, help="pairs of blocks a comparison")
    parser.add_argument("--times", type=int, default=5, help="runs of each whole command")
    parser.add_argument(
        "--only", default="", help="comparisons whose name begins so; nothing is written then"
    )
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="cos-bench-") as name:
        base = Path(name)
        results, figures = uvloop.run(_measure(base, rounds=given.rounds, only=given.only))
        if given.only:
            print(table(results))
            return
        figures += whole_commands(base, times=given.times)
    save(results, ROOT / "bench" / "results" / "latest.json")
    place = ROOT / "docs" / "benchmarks.md"
    _, _, others = place.read_text().partition(END)
    place.write_text(page(results, figures) + END + others)
    print(page(results, figures))


if __name__ == "__main__":
    main()
