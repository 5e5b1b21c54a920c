"""The COS that the faults strike: its servers, ways to them that can be blocked, and its processes."""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import quote

import asyncpg
import psutil
from reader import FeedReader

from cos.common.redis import create_redis
from cos.config import load_settings
from cos.infra.folder import DataFolder
from cos.infra.postgres import SOCKET_NAME as POSTGRES_SOCKET
from cos.infra.postgres import EmbeddedPostgres
from cos.infra.redis import SOCKET_NAME as REDIS_SOCKET
from cos.infra.redis import EmbeddedRedis
from cos.migrations.apply import migrate
from cos.runtime.core import Core
from cos.testing.proxied import ProxyProcess, Route

READY_SECONDS = 60.0
COS = Path(sys.executable).parent / "cos"
_PDEATHSIG = 1


class ChaosFailed(Exception):
    """A promise was broken, or the ground itself gave way."""


async def rest(seconds: float) -> None:
    """Let some time pass: what is drawn says when something begins and how long it lasts."""
    await asyncio.sleep(seconds)  # house: sleep (not a guess when something is done: it is the plan itself)


class Process:
    """One COS process, under its real command; started again after it was killed."""

    def __init__(self, name: str, arguments: list[str], *, folder: Path, env: dict[str, str]) -> None:
        self.name = name
        self.log = folder / f"{name}.log"
        self.clock = folder / f"{name}.clock"
        self.starts = 0
        self.was_ended = False
        self._arguments = arguments
        self._env = {**os.environ, **env, "CHAOS_NAME": name, "COS_DATA_DIR": str(folder / f"data-{name}")}
        self._child: asyncio.subprocess.Process | None = None
        self._lock = asyncio.Lock()

    @property
    def pid(self) -> int:
        """Give its process id; raises ChaosFailed when it does not run."""
        if self._child is None or self._child.returncode is not None:
            raise ChaosFailed(f"the process {self.name} has ended by itself; its log is {self.log}")
        return self._child.pid

    async def start(self) -> None:
        """Return when it says that it is ready; while a server is away it is tried again, as whoever runs it would."""
        until = time.monotonic() + READY_SECONDS
        async with self._lock:
            while not await self._try():
                if time.monotonic() > until:
                    raise ChaosFailed(f"the process {self.name} did not start; its log is {self.log}")
                await asyncio.sleep(0.05)

    async def _try(self) -> bool:
        with self.log.open("ab") as log:
            at = log.tell()
            child = await asyncio.create_subprocess_exec(
                str(COS), *self._arguments, stdout=log, stderr=log, env=self._env, preexec_fn=_die_with_us
            )
        self._child = child
        self.was_ended = False
        self.starts += 1
        until = time.monotonic() + READY_SECONDS
        while b" ready" not in self.log.read_bytes()[at:]:
            if child.returncode is not None:
                return False
            if time.monotonic() > until:
                raise ChaosFailed(f"the process {self.name} hangs as it starts; its log is {self.log}")
            await asyncio.sleep(0.02)
        return True

    async def ensure(self) -> None:
        """Start it, unless it runs."""
        if self._child is None or self._child.returncode is not None:
            await self.start()

    async def end(self, number: signal.Signals) -> None:
        """Send it a signal and wait until it has ended."""
        child = self._child
        self.was_ended = True
        if child is not None and child.returncode is None:
            child.send_signal(number)
            try:
                async with asyncio.timeout(20):
                    await child.wait()
            except TimeoutError:
                child.kill()
                await child.wait()
                raise ChaosFailed(
                    f"the process {self.name} did not end within 20 s of {number.name}"
                ) from None


def _die_with_us() -> None:
    ctypes.CDLL(None).prctl(_PDEATHSIG, signal.SIGKILL)


class Rig:
    """Everything that runs; `start` it, `stop` it."""

    def __init__(self, folder: Path, *, mutant: str = "") -> None:
        self.path = folder
        self.mutant = mutant
        self.seen = folder / "seen"
        self.folder: Any = None
        self.processes: list[Process] = []
        self.port = 0
        self.reader: FeedReader | None = None
        self.restoring = asyncio.Lock()
        #: Told when the log is set back, while nothing reads or writes it: what is kept of it.
        self.set_back: Callable[[frozenset[str]], None] = lambda kept: None
        self.certain: Callable[[], frozenset[str]] = frozenset
        self._connection: asyncpg.Connection[Any] | None = None
        self._ways_folder = TemporaryDirectory(prefix="cos-ways-", dir="/tmp")

    async def start(self) -> None:
        """Start the servers, the ways to them and the processes."""
        self.seen.mkdir(parents=True)
        self.folder = DataFolder.open(self.path / "servers")
        self.postgres = EmbeddedPostgres(folder=self.folder, fsync=False)
        self.redis = EmbeddedRedis(folder=self.folder, fsync=False)
        self.redis._program = self._unsignalled(self.redis._program)
        await asyncio.gather(self.postgres.start(), self.redis.start())
        await migrate(self.postgres.url)
        connection = await self.look()
        await connection.execute(
            "CREATE TABLE chaos_shared (n bigint NOT NULL); INSERT INTO chaos_shared VALUES (0)"
        )
        self.proxy = ProxyProcess()
        # Not below our own folder: a socket's path must be short, however long that one's is.
        ways = Path(self._ways_folder.name)
        self.ways = {
            "postgres": self._route(ways, POSTGRES_SOCKET),
            "redis": self._route(ways, REDIS_SOCKET),
        }
        database_url = f"postgresql://cos@/cos?host={quote(str(ways), safe='')}"
        redis_url = f"unix://{quote(str(ways / REDIS_SOCKET))}"
        self.straight = create_redis(self.redis.url)
        self.port = _free_port()
        env = {
            "COS_DATABASE_URL": database_url,
            "COS_REDIS_URL": redis_url,
            "COS_SUBSCRIBERS": "chaos_highway",
            "COS_LOG_LEVEL": "info",
            "COS_LOG_FORMAT": "json",
            "PYTHONPATH": str(Path(__file__).parent),
            "CHAOS_FOLDER": str(self.seen),
            "CHAOS_MUTANT": self.mutant,
        }
        self.processes = [
            Process("cos", ["up", "--port", str(self.port)], folder=self.path, env=env),
            Process("worker1", ["worker"], folder=self.path, env=env),
            Process("worker2", ["worker"], folder=self.path, env=env),
        ]
        for one in self.processes:
            one.clock = self.seen / f"{one.name}.clock"
        await asyncio.gather(*(one.start() for one in self.processes))
        self.core = Core(
            settings=load_settings(data_dir=self.path / "producers", log_level="error"),
            database_url=database_url,
            redis_url=redis_url,
            worker=False,
        )
        await self.core.__aenter__()
        self.follow()

    async def stop(self) -> None:
        """End everything."""
        if self.reader is not None:
            await self.reader.stop()
        for one in self.processes:
            with suppress(ChaosFailed, ProcessLookupError):
                await one.end(signal.SIGKILL)
        if hasattr(self, "core"):
            await self.core.__aexit__(None, None, None)
        if self._connection is not None:
            self._connection.terminate()
        if hasattr(self, "straight"):
            await self.straight.aclose()
        if hasattr(self, "proxy"):
            self.proxy.close()
        if hasattr(self, "postgres"):
            await asyncio.gather(self.redis.stop(), self.postgres.stop())
        self._ways_folder.cleanup()

    def _unsignalled(self, program: Path) -> Path:
        """Give what starts Redis so that a file that may not grow is an error to it, as on a full disk."""
        wrapper = self.path / "redis-server"
        wrapper.write_text(f"#!/bin/sh\ntrap '' XFSZ\nexec '{program}' \"$@\"\n")
        wrapper.chmod(0o755)
        self.path.chmod(0o755)
        return wrapper

    def follow(self) -> None:
        """Follow the live feed, from its beginning."""
        self.reader = FeedReader(port=self.port, since="0-0")
        self.reader.start()

    async def look(self) -> asyncpg.Connection[Any]:
        """Give a connection past all ways."""
        if self._connection is None or self._connection.is_closed():
            self._connection = await asyncpg.connect(self.postgres.url, command_timeout=20)
        return self._connection

    def forget_look(self) -> None:
        """Make the next look over a new connection: this one may have been cut in mid-answer."""
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None

    async def footprint(self) -> dict[str, int]:
        """Give what could leak: descriptors and memory of each process, our tasks, connections to Postgres."""
        found = {"tasks": len(asyncio.all_tasks())}
        for one in self.processes:
            process = psutil.Process(one.pid)
            found[f"{one.name} #{one.starts} descriptors"] = process.num_fds()
            found[f"{one.name} #{one.starts} MiB"] = process.memory_info().rss >> 20
        connection = await self.look()
        found["connections"] = await connection.fetchval(
            "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'"
        )
        return found

    def _route(self, ways: Path, name: str) -> Route:
        return Route(self.proxy, at=str(ways / name), to=str(self.folder.sockets / name))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
