"""One supervised server process: watched, restarted when it dies, stopped for certain."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Final

from cos.common import clock
from cos.errors import CosError, DiskFull, ServerFailed
from cos.infra.child import DEFAULT_GUARD, Child, GuardKind, in_words
from cos.infra.launch import CHILD_ENVIRONMENT
from cos.infra.logfile import open_log, read_since, telling_line
from cos.infra.trouble import warn

if TYPE_CHECKING:
    import signal
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

    from cos.infra.server import ServerState

FIRST_BACKOFF_SECONDS: Final = 0.1
LAST_BACKOFF_SECONDS: Final = 10.0
STEADY_AFTER_SECONDS: Final = 60.0


class ServerProcess:
    """Keeps one server running from `start` to `stop`.

    States: `stopped` → `starting` → `running`; `failed` when the first start does not succeed. A server that
    dies unasked is `restarting` until it answers again: after 0.1 s, then twice as long each time up to 10 s,
    for ever; one that ran for 60 s begins at 0.1 s again. One task owned by this object does the supervising.
    Everything must be called on one event loop, in a thread that outlives the server (the kernel ends a child
    with the thread that started it).
    """

    def __init__(
        self,
        *,
        name: str,
        argv: Callable[[], Sequence[str]],
        log: Path,
        ready: Callable[[], Awaitable[bool]],
        stop_signal: signal.Signals,
        start_timeout_seconds: float,
        stop_timeout_seconds: float,
        env: Mapping[str, str] = CHILD_ENVIRONMENT,
        quit_signal: signal.Signals | None = None,
        prepare: Callable[[], Awaitable[None]] | None = None,
        repair: Callable[[str], Awaitable[bool]] | None = None,
        guard_options: Callable[[], Sequence[str]] = tuple,
        guard: GuardKind = DEFAULT_GUARD,
    ) -> None:
        """Describe the server; nothing runs yet.

        Args:
            name: what people call it, such as "Postgres".
            argv: gives the absolute program path and its arguments, asked at each start.
            log: file that gets its output.
            ready: tells whether it answers; called every few milliseconds while it starts.
            stop_signal: asks it to end; also what it gets when this process dies.
            start_timeout_seconds: how long it may take to answer.
            stop_timeout_seconds: how long each request to end may take before a harder one.
            env: its whole environment.
            quit_signal: a harder request, tried before SIGKILL.
            prepare: runs before each start, restarts included.
            repair: gets the log of a failed start; True when it mended the cause and one more try is due.
            guard_options: how the guard changes identity, asked at each start.
            guard: `exec` lets the kernel tie the child to this process (Linux); `pipe` works everywhere; `quick`
                is `exec` without a Python in between, where the system brings what that takes.
        """
        self.name = name
        self._argv = argv
        self._env = env
        self._log_path = log
        self._ready = ready
        self._stop_signal = stop_signal
        self._start_timeout_seconds = start_timeout_seconds
        self._stop_timeout_seconds = stop_timeout_seconds
        requests = [stop_signal, *([quit_signal] if quit_signal else [])]
        self._stop_requests = [(number, stop_timeout_seconds) for number in requests]
        self._prepare = prepare
        self._repair = repair
        self._guard_options = guard_options
        self._guard: GuardKind = guard
        self._state: ServerState = "stopped"
        self._child: Child | None = None
        self._supervisor: asyncio.Task[None] | None = None
        self._log_offset = 0
        self.started_at: datetime | None = None
        self.restarts = 0
        self.last_exit: str | None = None

    @property
    def state(self) -> ServerState:
        """What it is doing now."""
        return self._state

    @property
    def pid(self) -> int | None:
        """Give the server's own process id, None while there is none."""
        return self._child.pid if self._child else None

    async def start(self) -> None:
        """Start it and return when it answers; does nothing when it is already started.

        Raises:
            ServerFailed: it ended or did not answer in time; quotes the line of its log that says why.
            DiskFull: that line says that the disk is full.
            CosError: `prepare` failed.
        """
        if self._supervisor is not None and not self._supervisor.done():
            return
        self._state = "starting"
        self.restarts = 0
        first: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._supervisor = asyncio.create_task(self._supervise(first), name=f"supervise-{self.name}")
        try:
            await first
        except asyncio.CancelledError:
            await self.stop()
            raise

    async def stop(self) -> None:
        """End it and stop watching: ask, then insist, then kill; does nothing when it is stopped.

        Raises:
            ServerFailed: it cannot be ended, not even by SIGKILL.
        """
        supervisor, self._supervisor = self._supervisor, None
        if supervisor is not None:
            supervisor.cancel()
            await asyncio.wait({supervisor})
        await self._end(self._stop_requests)
        self._state = "stopped"

    async def _supervise(self, first: asyncio.Future[None]) -> None:
        """Do all the supervising; `first` hears how the first start went."""
        try:
            await self._come_up()
        except asyncio.CancelledError:
            _tell(first, ServerFailed(f"{self.name} was stopped while it started."))
            raise
        except Exception as error:  # noqa: BLE001  (handed to whoever waits for the start)
            await self._give_up_on(error)
            self._state = "failed"
            _tell(first, self._failed(error))
            return
        _tell(first, None)
        pause_seconds = FIRST_BACKOFF_SECONDS
        while True:
            if self._state == "running" and await self._outlives(STEADY_AFTER_SECONDS):
                pause_seconds = FIRST_BACKOFF_SECONDS
            self._state = "restarting"
            self.restarts += 1
            warn(
                "server_restarting",
                server=self.name,
                last_exit=self.last_exit,
                restarts=self.restarts,
                pause_seconds=pause_seconds,
            )
            await asyncio.sleep(pause_seconds)
            pause_seconds = min(pause_seconds * 2, LAST_BACKOFF_SECONDS)
            try:
                await self._come_up()
            except Exception as error:  # noqa: BLE001  (a supervisor survives whatever one try runs into)
                await self._give_up_on(error)

    async def _outlives(self, seconds: float) -> bool:
        """Wait until the running server has ended; tell whether it ran that long."""
        began = clock.monotonic()
        if self._child is not None:
            self.last_exit = in_words(await self._child.wait())
            self._child = None
        return clock.monotonic() - began >= seconds

    async def _come_up(self) -> None:
        """Bring the server from nothing to ready, once more after a repair."""
        try:
            await self._try_once()
        except ServerFailed:
            text = read_since(self._log_path, self._log_offset)
            if self._repair is None or not await self._repair(text):
                raise
            await self._try_once()
        self.started_at = clock.now()
        self._state = "running"

    async def _try_once(self) -> None:
        if self._prepare is not None:
            await self._prepare()
        child = await self._spawn()
        exited = asyncio.create_task(child.wait())
        try:
            async with asyncio.timeout(self._start_timeout_seconds):
                pause_seconds = 0.002
                while not await self._ready():
                    await asyncio.wait({exited}, timeout=pause_seconds)
                    if exited.done():
                        raise self._died_early(exited.result())
                    pause_seconds = min(pause_seconds * 1.5, 0.05)
        except TimeoutError:
            await self._end(self._stop_requests)
            raise ServerFailed(
                f"{self.name} did not answer within {self._start_timeout_seconds:g} s; "
                f"its log is {self._log_path}."
            ) from None
        finally:
            exited.cancel()

    async def _spawn(self) -> Child:
        with open_log(self._log_path) as log:
            self._log_offset = os.fstat(log.fileno()).st_size
            self._child = await Child.spawn(
                self._argv(),
                env=self._env,
                log=log,
                stop_signal=self._stop_signal,
                grace_seconds=self._stop_timeout_seconds,
                guard=self._guard,
                options=self._guard_options(),
            )
        return self._child

    def _died_early(self, code: int) -> CosError:
        self._child = None
        self.last_exit = in_words(code)
        line = telling_line(read_since(self._log_path, self._log_offset))
        if line and "No space left on device" in line:
            return DiskFull(
                f"{self.name} did not start because the disk is full ({line}): make room, then try again."
            )
        return self._failed(line or self.last_exit)

    def _failed(self, why: object) -> CosError:
        if isinstance(why, CosError):
            return why
        return ServerFailed(
            f"{self.name} did not start: {str(why).rstrip('.')}; its log is {self._log_path}."
        )

    async def _give_up_on(self, error: Exception) -> None:
        """Clear away what a try that failed has left."""
        self.last_exit = self._failed(error).detail
        if self._child is not None and await self._child.end([]):
            self._child = None

    async def _end(self, requests: Sequence[tuple[signal.Signals, float]]) -> None:
        if self._child is None:
            return
        if not await self._child.end(requests):
            raise ServerFailed(f"{self.name} (process {self.pid}) does not end, not even by SIGKILL.")
        self.last_exit = in_words(self._child.exit_code or 0)
        self._child = None


def _tell(first: asyncio.Future[None], error: CosError | None) -> None:
    if first.done():
        return  # whoever waited has been cancelled
    if error is None:
        first.set_result(None)
    else:
        first.set_exception(error)
