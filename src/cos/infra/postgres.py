"""The embedded Postgres: set up once, kept running, reached through a private unix socket."""

from __future__ import annotations

import asyncio
import functools
import signal
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

import psutil

from cos.infra.account import Account, Entrance, check_program, choose_account, entrance, give
from cos.infra.answers import postgres_answers
from cos.infra.binaries import find_postgres_bin, read_version
from cos.infra.child import DEFAULT_GUARD, GuardKind
from cos.infra.cluster import DATABASE, USER, cluster_exists, create_cluster
from cos.infra.embedded import EmbeddedServer
from cos.infra.leftovers import end_leftovers
from cos.infra.process import ServerProcess

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from cos.infra.folder import DataFolder

__all__ = ["EmbeddedPostgres", "find_postgres_bin"]

SOCKET_NAME: Final = ".s.PGSQL.5432"
_START_TIMEOUT_SECONDS: Final = 120.0  # crash recovery replays at most max_wal_size, which takes seconds
_STOP_TIMEOUT_SECONDS: Final = 3.0
_STATUS_LINE: Final = 7  # of postmaster.pid, counted from 0
# Fast shutdown, immediate shutdown, the end.
_LEFTOVER_STEPS: Final = ((signal.SIGINT, 3.0), (signal.SIGQUIT, 2.0), (signal.SIGKILL, 2.0))

_SETTINGS: Final = {
    "listen_addresses": "",  # no TCP at all
    "unix_socket_permissions": "0700",
    "max_connections": "100",
    "shared_buffers": "128MB",
    "max_wal_size": "1GB",
    "min_wal_size": "128MB",
    "checkpoint_timeout": "10min",
    "checkpoint_completion_target": "0.9",
    "random_page_cost": "1.1",  # the disk is an SSD
    "jit": "off",  # compiling costs more than our short queries
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_destination": "stderr",
    "logging_collector": "off",
    "log_checkpoints": "off",
    "log_line_prefix": "%m [%p] ",
}
# Without fsync a commit still reaches the kernel before it returns, so kill -9 loses nothing; a power cut does.
_WITHOUT_FSYNC: Final = {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "on"}
_WITH_FSYNC: Final = dict.fromkeys(_WITHOUT_FSYNC, "on")


class EmbeddedPostgres(EmbeddedServer):
    """A real Postgres 18 in the data folder, for the process that holds the folder's lock.

    `start` creates the cluster the first time, ends what an earlier owner left, and returns when Postgres
    answers; from then on one that dies is restarted until `stop`. It cannot outlive this process.
    """

    def __init__(
        self,
        *,
        folder: DataFolder,
        fsync: bool = True,
        progress: Callable[[str], None] | None = None,
        guard: GuardKind = DEFAULT_GUARD,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        """Describe it; nothing runs yet.

        Args:
            folder: where it lives.
            fsync: whether a commit waits for the disk; off only in tests.
            progress: gets a sentence before each step that takes a person's patience.
            guard: how it is tied to this process, see `ServerProcess`.
            settings: further settings of the server, over our own.
        """
        self._folder = folder
        self._fsync = fsync
        self._settings = dict(settings or {})
        self._progress = progress or (lambda _sentence: None)
        self._bin = find_postgres_bin()
        self._account: Account | None = None
        self._socket = folder.sockets / SOCKET_NAME
        self._process = ServerProcess(
            name="Postgres",
            argv=self._argv,
            log=folder.logs / "postgres.log",
            ready=self._answers,
            stop_signal=signal.SIGINT,  # fast shutdown: SIGTERM would wait for every client to leave
            quit_signal=signal.SIGQUIT,
            start_timeout_seconds=_START_TIMEOUT_SECONDS,
            stop_timeout_seconds=_STOP_TIMEOUT_SECONDS,
            prepare=self._clear_leftovers,
            guard_options=lambda: self._entrance().options,
            guard=guard,
        )

    @property
    def url(self) -> str:
        """Where clients connect, as libpq and asyncpg read it."""
        return f"postgresql://{USER}@/{DATABASE}?host={quote(str(self._folder.sockets), safe='')}"

    @functools.cached_property
    def version(self) -> str:
        """The server's version, such as `18.4`."""
        return read_version(self._bin / "postgres")

    async def start(self) -> None:
        """Return when Postgres answers; does nothing when it is already started.

        Raises:
            OtherMajorVersion: the cluster was written by another version.
            DiskFull: there is no room.
            ServerFailed: it did not start; quotes why.
        """
        if self._process.state in {"running", "restarting"}:
            return
        self._account = await choose_account()
        exists = cluster_exists(self._folder.postgres)
        if self._account is not None:
            await self._hand_over(self._account)
        if not exists:
            self._progress("Setting up Postgres (only the first time) …")
            await create_cluster(
                self._folder.postgres, bin_folder=self._bin, account=self._account, fsync=self._fsync
            )
        await self._process.start()

    async def stop(self) -> None:
        """Shut it down and return when it has ended: clients are cut off, everything committed is safe."""
        await self._process.stop()

    def _argv(self) -> list[str]:
        # Arguments, not a file: an old folder always runs with the settings of the COS that starts it.
        data, sockets = self._entrance().paths
        settings = _SETTINGS | (_WITH_FSYNC if self._fsync else _WITHOUT_FSYNC) | self._settings
        settings["unix_socket_directories"] = '"' + sockets.replace('"', '""') + '"'
        flags = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        return [str(self._bin / "postgres"), "-D", data, *flags]

    def _entrance(self) -> Entrance:
        return entrance(self._account, [self._folder.postgres, self._folder.sockets])

    async def _answers(self) -> bool:
        # First its own note: a question that comes too early would leave a FATAL line in its log.
        if not self._says_ready():
            return False
        return await postgres_answers(self._socket, user=USER, database=DATABASE)

    def _says_ready(self) -> bool:
        lines = self._pid_file_lines()
        return len(lines) > _STATUS_LINE and lines[0] == str(self.pid) and lines[_STATUS_LINE] == "ready"

    def _pid_file_lines(self) -> list[str]:
        try:
            text = (self._folder.postgres / "postmaster.pid").read_text(errors="replace")
        except OSError:
            return []
        return [line.strip() for line in text.splitlines()]

    async def _hand_over(self, account: Account) -> None:
        """Let the files belong to whom Postgres runs as, also when that has changed since the last start."""
        if not account.namespace:
            await check_program(account, self._bin / "postgres")
        for path in (self._folder.postgres, self._folder.sockets):
            if path.exists():
                await asyncio.to_thread(give, path, account.owner)

    async def _clear_leftovers(self) -> None:
        """End a Postgres that an earlier owner left in this folder, and remove the files of a dead one.

        The folder's lock is ours, so whatever still works in it has lost its owner. A clean shutdown removes
        all three files, so the usual start looks no further.
        """
        self._folder.renew_sockets()
        if self._account is not None:
            give(self._folder.sockets, self._account.owner)
        pid_file = self._folder.postgres / "postmaster.pid"
        stale = (self._socket, self._socket.with_name(f"{SOCKET_NAME}.lock"))
        if not any(path.exists() for path in (pid_file, *stale)):
            return
        ended = await asyncio.to_thread(
            end_leftovers, self._folder.postgres, program="postgres", steps=_LEFTOVER_STEPS
        )
        for path in stale:
            path.unlink(missing_ok=True)
        # Postgres itself clears the file of a dead process, after checks of its own. But it would take a
        # foreign process that now has the same id for a living Postgres, and it refuses an emptied file, as
        # a power cut leaves it.
        pid = next(iter(self._pid_file_lines()), "")
        known = pid.isdigit() and int(pid) > 0
        if not known or (int(pid) not in ended and psutil.pid_exists(int(pid))):
            pid_file.unlink(missing_ok=True)
