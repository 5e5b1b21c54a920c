"""Strikes: how each fault is done to the rig, and undone again."""

from __future__ import annotations

import asyncio
import os
import resource
import shutil
import signal
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncpg
import psutil
from draw import MODULES
from redis.exceptions import RedisError
from rig import rest

from cos.testing import proxied

if TYPE_CHECKING:
    from draw import Strike
    from rig import Process, Rig

_WEATHER = {"cut": proxied.cut, "reset": proxied.reset, "blackhole": proxied.blackhole}
_LOST = (RedisError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError)


async def strike(rig: Rig, one: Strike) -> None:
    """Do one fault, for as long as it lasts; returns when it is over."""
    await rest(one.at)
    place, _, what = one.kind.rpartition(".")
    if place.startswith("way."):
        await _way(rig, one, place.removeprefix("way."), what)
    elif place in ("cos", "worker"):
        await _process(rig, one, place, what)
    elif place == "redis":
        await _redis(rig, one, what)
    elif place in ("stream", "generation"):
        await _keys(rig, one)
    elif place == "postgres":
        await _postgres(rig, one, what)
    elif one.kind == "clock.jump":
        _any(rig, one).clock.write_text(str(round((one.amount - 0.5) * 200_000)))
    elif one.kind == "horizon":
        await _horizon(rig, one)
    elif rig.reader is not None:
        rig.reader.leave()


def _any(rig: Rig, one: Strike) -> Process:
    return rig.processes[one.which % len(rig.processes)]


async def _way(rig: Rig, one: Strike, server: str, what: str) -> None:
    way, name = rig.ways[server], f"{one.kind}:{one.which}"
    weather = _WEATHER.get(what) or proxied.slow(latency=0.01 + 0.05 * one.amount, jitter=0.01)
    await asyncio.to_thread(way.put, name, weather, seconds=one.seconds + 30)
    try:
        await rest(one.seconds)
    finally:
        await asyncio.to_thread(way.take, name)


async def _process(rig: Rig, one: Strike, place: str, what: str) -> None:
    process = rig.processes[0] if place == "cos" else rig.processes[1 + one.which % 2]
    if what == "freeze":
        if not process.was_ended:  # another fault has it
            await _freeze([process.pid], one.seconds)
        return
    await process.end(signal.SIGKILL if what == "kill" else signal.SIGTERM)
    await rest(one.seconds)
    await process.ensure()


async def _freeze(pids: list[int], seconds: float) -> None:
    frozen = []
    try:
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
                frozen.append(pid)
        await rest(seconds)
    finally:
        for pid in frozen:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


async def _redis(rig: Rig, one: Strike, what: str) -> None:
    if what == "disk":
        await _full_disk(rig, one)
    elif what in ("kill", "wipe", "cut", "freeze"):
        pid = rig.redis.pid
        if pid is None:
            return  # another fault has it
        if what == "freeze":
            await _freeze([pid], one.seconds)
            return
        os.kill(pid, signal.SIGKILL)
        file = rig.folder.redis / "appendonly.aof"
        if what == "wipe":
            file.unlink(missing_ok=True)
        elif what == "cut" and file.exists():
            os.truncate(file, max(0, file.stat().st_size - round(20_000 * one.amount)))
    else:
        await _tell_redis(rig, one, what)


async def _tell_redis(rig: Rig, one: Strike, what: str) -> None:
    client = rig.straight
    with suppress(*_LOST):
        if what == "flush":
            await client.flushall()
        elif what == "scripts":
            await client.execute_command("SCRIPT", "FLUSH")
        elif what == "clients":
            await client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            await client.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
    if what == "full":
        try:
            with suppress(*_LOST):
                await client.config_set("maxmemory", 1)
            await rest(one.seconds)
        finally:
            await _again(lambda: client.config_set("maxmemory", 0))


async def _full_disk(rig: Rig, one: Strike) -> None:
    """Let the file of Redis grow by some bytes more and then fail each write, as a full disk does."""
    pid, file = rig.redis.pid, rig.folder.redis / "appendonly.aof"
    if pid is None or not file.exists():
        return  # another fault has it
    most = file.stat().st_size + round(2000 * one.amount)
    with suppress(ProcessLookupError):
        _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (most, hard))
        try:
            await rest(one.seconds)
        finally:
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, hard))


async def _keys(rig: Rig, one: Strike) -> None:
    streams, client = rig.core.streams, rig.straight
    with suppress(*_LOST):
        if one.kind == "generation.delete":
            await client.delete(streams.meta)
            return
        number = int(await client.hget(streams.meta, "generation") or 1)
        key = streams.key(MODULES[one.which % len(MODULES)], number)
        if one.kind == "stream.delete":
            await client.delete(key)
        else:
            await client.xtrim(key, maxlen=round(20 * one.amount), approximate=False)


async def _postgres(rig: Rig, one: Strike, what: str) -> None:
    pid = rig.postgres.pid
    if pid is None:
        return  # another fault has it
    if what == "restore":
        await _restore(rig, one)
    elif what == "kill":
        os.kill(pid, signal.SIGKILL)
    elif what == "freeze":
        with suppress(psutil.NoSuchProcess):
            family = [child.pid for child in psutil.Process(pid).children(recursive=True)]
            await _freeze([pid, *family], one.seconds)
    elif what == "backends":
        with suppress(*_LOST):
            connection = await asyncpg.connect(rig.postgres.url, timeout=2)
            await connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
            )
            await connection.close()
    else:
        await _crowd(rig, one)


async def _restore(rig: Rig, one: Strike) -> None:
    """Copy the folder, go on for a while, and set it back to the copy: what was recorded meanwhile is gone."""
    folder, copy = rig.folder.postgres, rig.path / "earlier"
    async with rig.restoring:
        kept = rig.certain()
        await rig.postgres.stop()
        await asyncio.to_thread(_copy, folder, copy)
        await rig.postgres.start()
        await rest(0.2 + one.seconds)
        await rig.postgres.stop()
        if rig.reader is not None:
            await rig.reader.stop()
        rig.set_back(kept)
        await asyncio.to_thread(shutil.rmtree, folder)
        await asyncio.to_thread(copy.rename, folder)
        await rig.postgres.start()
        rig.follow()


def _copy(folder: Path, copy: Path) -> None:
    """Copy a folder with its owner: Postgres runs under an account of its own where we are root."""
    shutil.copytree(folder, copy, symlinks=True)
    found = folder.stat()
    for path in (copy, *copy.rglob("*")):
        os.chown(path, found.st_uid, found.st_gid, follow_symlinks=False)


async def _crowd(rig: Rig, one: Strike) -> None:
    async with AsyncExitStack() as stack:
        with suppress(*_LOST):
            for _ in range(150):
                connection = await asyncpg.connect(rig.postgres.url, timeout=2)
                stack.callback(connection.terminate)
        await rest(one.seconds)


async def _horizon(rig: Rig, one: Strike) -> None:
    with suppress(*_LOST):
        connection = await asyncpg.connect(rig.postgres.url, timeout=2)
        try:
            async with connection.transaction():
                await connection.execute("SELECT pg_current_xact_id()")
                await rest(one.seconds)
        finally:
            connection.terminate()


async def _again(call: Any) -> None:
    """Do what must be done although the server may be away for a moment."""
    for _ in range(200):
        with suppress(*_LOST):
            await call()
            return
        await rest(0.05)
