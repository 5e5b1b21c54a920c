"""Measures the highway's consumers against their floors, in turns."""  # house: length (one subject)

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import msgspec
import uvloop
from harness import bootstrap, quantile
from redis.asyncio import Redis

from cos.common import log
from cos.common.redis import create_redis
from cos.config import load_settings
from cos.infra.folder import DataFolder
from cos.memory.delivery import Event
from cos.memory.event import new_event
from cos.memory.highway import Highway
from cos.runtime.consumers import Consumers
from cos.runtime.core import Core
from cos.runtime.servers import Servers

DATA = {"file": "src/ch01.md", "author": "author-1", "lines_added": 3, "note": "x" * 150}
FLOOR_TABLE = """
    CREATE TABLE IF NOT EXISTS bench_floor (
        id uuid PRIMARY KEY, module text NOT NULL, type text NOT NULL, data json NOT NULL,
        time timestamptz NOT NULL DEFAULT now()
    )
"""
FLOOR_INSERT = "INSERT INTO bench_floor (id, module, type, data) VALUES ($1, 'bench', 'bench.row', $2)"


class Data(msgspec.Struct):
    file: str
    author: str
    lines_added: int
    note: str


@asynccontextmanager
async def running(path: Path) -> AsyncIterator[tuple[Core, Servers]]:
    """Run a whole durable COS, without its API."""
    settings = load_settings(data_dir=path, log_level="error")
    log.configure(level=settings.log_level, shape=settings.log_format)
    folder = DataFolder.open(path)
    async with (
        Servers(settings=settings, folder=folder, progress=lambda _line: None) as servers,
        Core(settings=settings, database_url=servers.postgres.url, redis_url=servers.redis.url) as core,
    ):
        yield core, servers


async def backlog(core: Core, module: str, count: int) -> str:
    """Put so many events into a module's stream and give its key."""
    for _ in range(count // 1000):
        await core.recorder.record_many(
            [new_event(type="bench.row", module=module, data=DATA, subject="s") for _ in range(1000)]
        )
    number = None
    while number is None or await core.redis.xlen(core.streams.key(module, number)) < count:
        number = await core.streams.generation()
        await asyncio.sleep(0.01)
    return core.streams.key(module, number)


async def bare(redis: Redis, key: str, count: int, batch: int) -> float:
    """The floor: read, acknowledge, and nothing else; gives messages a second."""
    group = uuid.uuid4().hex
    await redis.xgroup_create(key, group, "0")
    began, got = time.perf_counter(), 0
    while got < count:
        answer: Any = await redis.xreadgroup(group, "c", {key: ">"}, count=batch)
        entries = [entry for _, found in answer for entry in found]
        await redis.xack(key, group, *(entry for entry, _ in entries))
        got += len(entries)
    speed = count / (time.perf_counter() - began)
    await redis.xgroup_destroy(key, group)
    return speed


async def ours(core: Core, module: str, count: int, batch: int, *, many: bool) -> float:
    """A subscriber with a typed handler over the same entries; gives messages a second, from the first to the last."""
    highway, times = Highway(), [0.0, 0.0]
    got, end = 0, asyncio.Event()

    def note(more: int) -> None:
        nonlocal got
        if not got:
            times[0] = time.perf_counter()
        got += more
        if got >= count:
            times[1] = time.perf_counter()
            end.set()

    group = "b" + uuid.uuid4().hex
    policy = {"modules": [module], "prefetch": 2 * batch, "batch": batch}
    if many:

        @highway.subscriber(group=group, **policy)
        async def handle_many(events: list[Event[Data]]) -> None:
            note(len(events))

    else:

        @highway.subscriber(group=group, **policy)
        async def handle(_event: Event[Data]) -> None:
            note(1)

    async with Consumers(highways=[highway], database_url=core.database_url, redis_url=core.redis_url):
        async with asyncio.timeout(60):
            await end.wait()
    return count / (times[1] - times[0])


async def faststream(redis_url: str, key: str, count: int) -> float:
    """FastStream's consumer of the same stream, one message a call."""
    from faststream.redis import RedisBroker, StreamSub  # noqa: PLC0415  (only this needs it)

    redis = create_redis(redis_url)
    group, got, times, end = uuid.uuid4().hex, 0, [0.0, 0.0], asyncio.Event()
    await redis.xgroup_create(key, group, "0")
    broker = RedisBroker(redis_url, logger=None)

    @broker.subscriber(stream=StreamSub(key, group=group, consumer="c", polling_interval=10))
    async def handle(_event: Any) -> None:
        nonlocal got
        if not got:
            times[0] = time.perf_counter()
        got += 1
        if got == count:
            times[1] = time.perf_counter()
            end.set()

    await broker.start()
    try:
        async with asyncio.timeout(60):
            await end.wait()
    finally:
        await broker.stop()
        await redis.aclose()
    return count / (times[1] - times[0])


def told(name: str, ratios: list[float], target: str, detail: str = "") -> None:
    low, high = bootstrap(ratios, seed=0)
    middle = statistics.median(ratios)
    print(f"{name}: {middle:.2f} ({low:.2f} to {high:.2f}), target {target}. {detail}", flush=True)


async def reading(core: Core, rounds: int) -> None:
    count = 5000
    key = await backlog(core, "read", count)
    redis = create_redis(core.redis_url)
    for batch in (100, 1000):
        for many in (False, True):
            ratios, speeds = [], []
            for number in range(rounds):
                sides: list[Callable[[], Any]] = [
                    lambda b=batch, m=many: ours(core, "read", count, b, many=m),
                    lambda b=batch: bare(redis, key, count, b),
                ]
                found = [0.0, 0.0]
                for side in (0, 1) if number % 2 else (1, 0):
                    found[side] = await sides[side]()
                ratios.append(found[0] / found[1])
                speeds.append(found)
            shape = "batches" if many else "one message a call"
            middle = [round(statistics.median(side)) for side in zip(*speeds, strict=True)]
            told(
                f"subscriber, {shape}, {batch} a read / bare loop",
                ratios,
                ">= 0.7",
                f"{middle[0]:,} / {middle[1]:,} a second",
            )
    ratios, speeds = [], []
    for _ in range(max(2, rounds // 2)):
        found = [
            await ours(core, "read", count, 100, many=False),
            await faststream(core.redis_url, key, 1000),
        ]
        ratios.append(found[0] / found[1])
        speeds.append(found)
    middle = [round(statistics.median(side)) for side in zip(*speeds, strict=True)]
    told("subscriber / FastStream", ratios, ">= 2", f"{middle[0]:,} / {middle[1]:,} a second")
    await redis.aclose()


LISTENER = """
import asyncio, sys, time, uvloop
kind, database_url, redis_url, key = sys.argv[1:]
def seen(): print(time.perf_counter(), flush=True)
async def ours():
    from cos.common import log
    from cos.memory.highway import Highway
    from cos.memory.delivery import Event
    from cos.runtime.consumers import Consumers
    log.configure(level="error", shape="text")
    highway = Highway()
    @highway.subscriber(group="late", modules=["late"], begin="newest")
    async def handle(event: Event): seen()
    async with Consumers(highways=[highway], database_url=database_url, redis_url=redis_url) as consumers:
        while not consumers.subscribers["late"]._waiting: await asyncio.sleep(0.01)
        print("ready", flush=True)
        await asyncio.Event().wait()
async def naive():
    from redis.asyncio import Redis
    redis = Redis.from_url(redis_url)
    await redis.xgroup_create(key, "late", "$", mkstream=True)
    print("ready", flush=True)
    while True:
        for _, entries in await redis.xreadgroup("late", "c", {key: ">"}, count=10, block=1000) or []:
            for entry, _ in entries:
                seen()
                await redis.xack(key, "late", entry)
async def faststream():
    from faststream.redis import RedisBroker, StreamSub
    broker = RedisBroker(redis_url, logger=None)
    @broker.subscriber(stream=StreamSub(key, group="late", consumer="c"))
    async def handle(event: dict): seen()
    await broker.start()
    print("ready", flush=True)
    await asyncio.Event().wait()
uvloop.run({"ours": ours, "naive": naive, "faststream": faststream}[kind]())
"""


async def latency(core: Core, rounds: int, inner: int) -> None:
    """From the beginning of the write to the handler in another process."""
    from faststream.redis import RedisBroker  # noqa: PLC0415  (as above)

    await core.recorder.record(new_event(type="bench.row", module="late", data=DATA))
    await backlog(core, "late2", 1000)
    connection = await asyncpg.connect(core.database_url)
    await connection.execute(FLOOR_TABLE)
    insert = await connection.prepare(FLOOR_INSERT)
    redis = create_redis(core.redis_url)
    broker = RedisBroker(core.redis_url, logger=None)
    await broker.connect()
    text = json.dumps(DATA)
    listeners = {}
    for kind in ("ours", "naive", "faststream"):
        listener = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            LISTENER,
            kind,
            core.database_url,
            core.redis_url,
            f"bench.{kind}",
            stdout=subprocess.PIPE,
        )
        listeners[kind] = listener
        await listener.stdout.readline()

    async def send(kind: str) -> float:
        began = time.perf_counter()
        if kind == "ours":
            await core.recorder.record(new_event(type="bench.row", module="late", data=DATA))
        else:
            await insert.fetch(uuid.uuid4(), text)
            if kind == "naive":
                await redis.xadd("bench.naive", {"event": text})
            else:
                await broker.publish(DATA, stream="bench.faststream")
        return float(await listeners[kind].stdout.readline()) - began

    p95: dict[str, list[float]] = {kind: [] for kind in listeners}
    p50: dict[str, list[float]] = {kind: [] for kind in listeners}
    try:
        for number in range(-1, rounds):
            for kind in listeners if number % 2 else reversed(listeners):
                block = sorted([await send(kind) for _ in range(inner)])
                if number >= 0:
                    p95[kind].append(1000 * quantile(block, 0.95))
                    p50[kind].append(1000 * quantile(block, 0.5))
    finally:
        for listener in listeners.values():
            listener.kill()
            await listener.wait()
        await broker.stop()
        await connection.close()
        await redis.aclose()
    shown = ", ".join(
        f"{kind} {statistics.median(p50[kind]):.2f}/{statistics.median(p95[kind]):.2f} ms p50/p95"
        for kind in p95
    )
    for floor, target in (("naive", "<= 1.5"), ("faststream", "<= 0.6")):
        ratios = [a / b for a, b in zip(p95["ours"], p95[floor], strict=True)]
        told(f"commit to handler, p95 / {floor}", ratios, target, shown)


async def projected(core: Core, name: str, count: int) -> tuple[float, Consumers]:
    """Build a projection over so many events with a simple upsert; gives events a second."""
    highway, done, applied = Highway(), asyncio.Event(), 0

    @highway.projection(
        name=name,
        setup="CREATE TABLE author (name text PRIMARY KEY, lines bigint NOT NULL)",
        modules=["project"],
    )
    async def apply(connection: Any, events: list[Event[Data]]) -> None:
        nonlocal applied
        totals: dict[str, int] = {}
        for one in events:
            totals[one.data.author] = totals.get(one.data.author, 0) + one.data.lines_added
        await connection.execute(
            "INSERT INTO author SELECT * FROM unnest($1::text[], $2::bigint[]) "
            "ON CONFLICT (name) DO UPDATE SET lines = author.lines + excluded.lines",
            list(totals),
            list(totals.values()),
        )
        applied += len(events)
        if applied >= count:
            done.set()

    consumers = Consumers(highways=[highway], database_url=core.database_url, redis_url=core.redis_url)
    async with consumers:
        began = time.perf_counter()
        async with asyncio.timeout(60):
            await done.wait()
        return count / (time.perf_counter() - began), consumers


async def projecting(core: Core, rounds: int) -> None:
    """Build projections from the beginning."""
    count = 20_000
    await backlog(core, "project", count)
    found = [await projected(core, f"bench{number}", count) for number in range(rounds)]
    speeds = [speed for speed, _ in found]
    bodies = found[-1][1].bodies
    print(
        f"projection: {statistics.median(speeds):,.0f} events/s ({min(speeds):,.0f} to {max(speeds):,.0f}), "
        f"target 10,000; bodies from Redis {bodies.from_redis:,}, from the log {bodies.from_log:,}",
        flush=True,
    )


async def writing(core: Core, servers: Servers, rounds: int) -> None:
    """Write through the recorder with Redis up, frozen and away, in turns."""
    pid = servers.redis.pid
    if pid is None:
        raise RuntimeError("there is no Redis to take away")

    async def block(count: int = 300) -> float:
        began = time.perf_counter()
        for _ in range(count):
            await core.recorder.record(new_event(type="bench.row", module="write", data=DATA))
        return count / (time.perf_counter() - began)

    await block()
    speeds: list[list[float]] = []
    for _ in range(rounds):
        up = await block()
        os.kill(pid, signal.SIGSTOP)
        try:
            down = await block()
        finally:
            os.kill(pid, signal.SIGCONT)
        speeds.append([down, up])
        await asyncio.sleep(0.2)  # the relay catches up
    middle = [round(statistics.median(side)) for side in zip(*speeds, strict=True)]
    told(
        "writing with Redis away / with Redis up",
        [down / up for down, up in speeds],
        ">= 0.95",
        f"{middle[0]:,} / {middle[1]:,} a second",
    )


async def _measure(base: Path, rounds: int, only: str) -> None:
    async with running(base / "core") as (core, servers):
        if only in ("", "writing"):
            await writing(core, servers, rounds)
        if only in ("", "reading"):
            await reading(core, rounds)
        if only in ("", "latency"):
            await latency(core, rounds, 60)
        if only in ("", "projecting"):
            await projecting(core, max(2, rounds // 3))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=10, help="pairs a comparison")
    parser.add_argument("--only", default="", choices=["", "writing", "reading", "latency", "projecting"])
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="cos-bench-") as name:
        uvloop.run(_measure(Path(name), given.rounds, given.only))


if __name__ == "__main__":
    main()
