"""The embedded Redis: kept running, reached through a private unix socket, never a reason not to start."""

from __future__ import annotations

import asyncio
import functools
import os
import re
import signal
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from cos.common import clock
from cos.infra.account import unprivileged_entry
from cos.infra.answers import redis_answers
from cos.infra.binaries import find_redis_server, read_version
from cos.infra.child import DEFAULT_GUARD, GuardKind
from cos.infra.embedded import EmbeddedServer
from cos.infra.leftovers import end_leftovers
from cos.infra.process import ServerProcess

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cos.infra.folder import DataFolder

SOCKET_NAME: Final = "redis.sock"
AOF_NAME: Final = "appendonly.aof"
MAX_DAMAGED_FILES: Final = 3
_START_TIMEOUT_SECONDS: Final = 120.0  # a large file is read at some 100 MB a second
_STOP_TIMEOUT_SECONDS: Final = 3.0
_LEFTOVER_STEPS: Final = ((signal.SIGTERM, 3.0), (signal.SIGKILL, 2.0))
# What Redis says, or does, when it reads a file that it did not write like this.
_DAMAGED: Final = re.compile(
    r"Bad file format reading|Unknown command .* reading the append only|Error reading the RDB preamble"
    r"|(?:Unrecoverable error|Unexpected end of file) reading the append only|Internal error in RDB"
    r"|rdb file reading failure|Wrong RDB checksum|Can't handle RDB format|REDIS BUG REPORT"
)


class EmbeddedRedis(EmbeddedServer):
    """A real Redis in the data folder, for the process that holds the folder's lock.

    It keeps its data in an append-only file. A file cut short is read up to the cut; one that is damaged in
    the middle is set aside (the last three are kept) and Redis starts empty, because the truth is in Postgres
    and Redis is filled from it again; `last_recovery` says so.
    """

    def __init__(
        self,
        *,
        folder: DataFolder,
        fsync: bool = True,
        progress: Callable[[str], None] | None = None,
        guard: GuardKind = DEFAULT_GUARD,
    ) -> None:
        """Describe it; nothing runs yet.

        Args:
            folder: where it lives.
            fsync: whether its file is synced each second; off only in tests.
            progress: gets a sentence before each step that takes a person's patience.
            guard: how it is tied to this process, see `ServerProcess`.
        """
        self._folder = folder
        self._fsync = fsync
        self._progress = progress or (lambda _sentence: None)
        self._program = find_redis_server()
        self._socket = folder.sockets / SOCKET_NAME
        self.last_recovery: str | None = None
        self._process = ServerProcess(
            name="Redis",
            argv=self._argv,
            log=folder.logs / "redis.log",
            ready=self._answers,
            stop_signal=signal.SIGTERM,
            start_timeout_seconds=_START_TIMEOUT_SECONDS,
            stop_timeout_seconds=_STOP_TIMEOUT_SECONDS,
            prepare=self._clear_leftovers,
            repair=self._set_damaged_aside,
            guard_options=_without_root,
            guard=guard,
        )

    @property
    def url(self) -> str:
        """Where clients connect."""
        return f"unix://{quote(str(self._socket))}"

    @functools.cached_property
    def version(self) -> str:
        """The server's version, such as `6.2.14`."""
        return read_version(self._program)

    async def start(self) -> None:
        """Return when Redis answers; does nothing when it is already started.

        Raises:
            ServerFailed: it did not start; quotes why.
            DiskFull: there is no room.
        """
        await self._process.start()

    async def stop(self) -> None:
        """Shut it down and return when it has ended, its file written and closed."""
        await self._process.stop()

    def _argv(self) -> list[str]:
        settings = {
            "port": "0",  # no TCP at all
            "unixsocket": str(self._socket),
            "unixsocketperm": "700",
            "dir": str(self._folder.redis),
            "pidfile": str(self._folder.redis / "redis.pid"),
            "daemonize": "no",
            "appendonly": "yes",
            "appendfilename": AOF_NAME,
            "appendfsync": "everysec" if self._fsync else "no",
            "aof-load-truncated": "yes",
            "save": "",
            "maxmemory-policy": "noeviction",
            "loglevel": "notice",
        }
        return [
            str(self._program),
            *(part for name, value in settings.items() for part in (f"--{name}", value)),
        ]

    async def _answers(self) -> bool:
        return await redis_answers(self._socket)

    async def _clear_leftovers(self) -> None:
        """End a Redis that an earlier owner left in this folder, and remove what a dead one left."""
        self._folder.renew_sockets()
        stale = (self._socket, self._folder.redis / "redis.pid")
        if not any(path.exists() for path in stale):
            return  # a clean shutdown removes both
        await asyncio.to_thread(
            end_leftovers, self._folder.redis, program="redis-server", steps=_LEFTOVER_STEPS
        )
        for path in stale:
            path.unlink(missing_ok=True)

    async def _set_damaged_aside(self, log: str) -> bool:
        """Rename a file that Redis cannot read; True when there was one to blame."""
        aof = self._folder.redis / AOF_NAME
        if not _DAMAGED.search(log) or not aof.exists() or not aof.stat().st_size:
            return False
        aside = aof.with_name(f"{AOF_NAME}.damaged-{clock.now():%Y%m%dT%H%M%S.%fZ}")
        aof.rename(aside)
        for old in sorted(aof.parent.glob(f"{AOF_NAME}.damaged-*"))[:-MAX_DAMAGED_FILES]:
            old.unlink()
        self.last_recovery = (
            f"The file of Redis was damaged and is set aside as {aside}; "
            "Redis started empty and is filled again from Postgres."
        )
        self._progress(self.last_recovery)
        return True


def _without_root() -> Sequence[str]:
    """Take root's rights from Redis where the system allows it; unlike Postgres it would run with them."""
    if os.geteuid() != 0:
        return ()
    entry = unprivileged_entry()
    return (f"maybe-namespace={entry.pw_uid}:{entry.pw_gid}",)
