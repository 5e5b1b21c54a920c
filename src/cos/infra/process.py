"""One supervised child: started behind a guard, watched, restarted when it dies, stopped for certain."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
from typing import TYPE_CHECKING, Final, Literal

import psutil
import structlog

from cos.common import clock
from cos.errors import CosError, DiskFull, ServerFailed
from cos.infra.launch import CHILD_ENVIRONMENT, guarded
from cos.infra.logfile import open_log, read_since, telling_line

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

    from cos.infra.server import ServerState

FIRST_BACKOFF_SECONDS: Final = 0.1
LAST_BACKOFF_SECONDS: Final = 10.0
STEADY_AFTER_SECONDS: Final = 60.0
_KILL_TIMEOUT_SECONDS: Final = 5.0
_PID_TIMEOUT_SECONDS: Final = 10.0

GuardKind = Literal["exec", "pipe"]
DEFAULT_GUARD: Final[GuardKind] = "exec" if sys.platform == "linux" else "pipe"

_log = structlog.get_logger("cos.infra")


class ServerProcess:
    """Keeps one server running from `start` to `stop`.

    States: `stopped` → `starting` → `running`; `failed` when the first start does not succeed. A server that dies
    unasked is `restarting` until it answers again: after 0.1 s, then twice as long each time up to 10 s, for ever;
    one that ran for 60 s begins at 0.1 s again. One task owned by this object does the supervising. Everything must
    be called on one event loop, in a thread that outlives the server (the kernel ends a child with the thread that
    started it).
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
            stop_timeout_seconds: how long it may take to end before it is made to.
            env: its whole environment.
            quit_signal: a harder request, tried before SIGKILL.
            prepare: runs before each start, restarts included.
            repair: gets the log of a start that failed; True when it mended the cause and a new try is worth it.
            guard_options: how the guard changes identity, asked at each start.
            guard: `exec` lets the kernel tie the child to this process (Linux); `pipe` works everywhere.
        """
        self.name = name
        self._argv = argv
        self._env = env
        self._log_path = log
        self._ready = ready
        self._stop_signal = stop_signal
        self._quit_signal = quit_signal
        self._start_timeout_seconds = start_timeout_seconds
        self._stop_timeout_seconds = stop_timeout_seconds
        self._prepare = prepare
        self._repair = repair
        self._guard_options = guard_options
        self._guard: GuardKind = guard
        self._state: ServerState = "stopped"
        self._process: asyncio.subprocess.Process | None = None
        self._server_pid: int | None = None
        self._pipe: socket.socket | None = None
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
        return self._server_pid

    async def start(self) -> None:
        """Start it and return when it answers; does nothing when it is already started.

        Raises:
            ServerFailed: it ended or did not answer in time; quotes the line of its log that says why.
            DiskFull: that line says that the disk is full.
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
        except BaseException:
            self._state = "failed"
            raise

    async def stop(self) -> None:
        """End it and stop watching: ask, then insist, then kill; does nothing when it is stopped."""
        supervisor, self._supervisor = self._supervisor, None
        if supervisor is not None:
            supervisor.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await supervisor
        await self._end(self._stop_signal)
        self._state = "stopped"

    async def _supervise(self, first: asyncio.Future[None]) -> None:
        pause_seconds = FIRST_BACKOFF_SECONDS
        while True:
            try:
                await self._come_up()
                self._state = "running"
                if not first.done():
                    first.set_result(None)
                ready_at = clock.monotonic()
                await self._gone()
                if clock.monotonic() - ready_at >= STEADY_AFTER_SECONDS:
                    pause_seconds = FIRST_BACKOFF_SECONDS
            except asyncio.CancelledError:
                raise
            except Exception as error:  # noqa: BLE001  (a supervisor survives whatever one try runs into)
                await self._end(signal.SIGKILL)
                if not first.done():
                    first.set_exception(error)
                    return
                self.last_exit = error.detail if isinstance(error, CosError) else str(error)
            self._state = "restarting"
            self.restarts += 1
            _log.warning(
                "server_restarting",
                server=self.name,
                last_exit=self.last_exit,
                restarts=self.restarts,
                pause_seconds=pause_seconds,
            )
            await asyncio.sleep(pause_seconds)
            pause_seconds = min(pause_seconds * 2, LAST_BACKOFF_SECONDS)

    async def _come_up(self) -> None:
        """Bring the server from nothing to ready, once more after a repair."""
        try:
            await self._try_once()
        except ServerFailed:
            text = read_since(self._log_path, self._log_offset)
            if self._repair is None or not await self._repair(text):
                raise
            await self._try_once()

    async def _try_once(self) -> None:
        if self._prepare is not None:
            await self._prepare()
        process = await self._spawn()
        exited = asyncio.create_task(process.wait())
        try:
            async with asyncio.timeout(self._start_timeout_seconds):
                pause_seconds = 0.002
                while not await self._ready():
                    await asyncio.wait({exited}, timeout=pause_seconds)
                    if exited.done():
                        raise self._failure()
                    pause_seconds = min(pause_seconds * 1.5, 0.05)
        except TimeoutError:
            await self._end(self._stop_signal)
            raise ServerFailed(
                f"{self.name} did not answer within {self._start_timeout_seconds:g} s; its log is {self._log_path}."
            ) from None
        finally:
            exited.cancel()
        self.started_at = clock.now()

    async def _spawn(self) -> asyncio.subprocess.Process:
        options = list(self._guard_options())
        passed: tuple[int, ...] = ()
        theirs: socket.socket | None = None
        if self._guard == "pipe":
            self._pipe, theirs = socket.socketpair()
            self._pipe.setblocking(False)
            passed = (theirs.fileno(),)
            options += [f"pipe={theirs.fileno()}", f"grace={self._stop_timeout_seconds}"]
        try:
            with open_log(self._log_path) as log:
                self._log_offset = log.tell() or os.fstat(log.fileno()).st_size
                self._process = await asyncio.create_subprocess_exec(
                    *guarded(self._argv(), stop_signal=self._stop_signal, options=options),
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    env=self._env,
                    pass_fds=passed,
                )
        finally:
            if theirs is not None:
                theirs.close()
        self._server_pid = self._process.pid
        if self._pipe is not None:
            self._server_pid = await self._told_pid(self._pipe)
        return self._process

    async def _told_pid(self, pipe: socket.socket) -> int | None:
        async with asyncio.timeout(_PID_TIMEOUT_SECONDS):
            told = await asyncio.get_running_loop().sock_recv(pipe, 64)
        return int(told) if told.strip().isdigit() else None

    async def _gone(self) -> None:
        """Wait until the child has ended and note how."""
        if self._process is None:
            return
        code = await self._process.wait()
        self.last_exit = in_words(code)
        self._forget()

    def _forget(self) -> None:
        self._process = None
        self._server_pid = None
        if self._pipe is not None:
            self._pipe.close()
            self._pipe = None

    def _failure(self) -> CosError:
        code = self._process.returncode if self._process else None
        self._forget()
        self.last_exit = in_words(code) if code is not None else None
        line = telling_line(read_since(self._log_path, self._log_offset))
        if line and "No space left on device" in line:
            return DiskFull(
                f"{self.name} did not start because the disk is full ({line}): make room, then try again."
            )
        said = f": {line.rstrip('.')}" if line else ""
        return ServerFailed(
            f"{self.name} did not start ({self.last_exit}){said}; its log is {self._log_path}."
        )

    async def _end(self, number: signal.Signals) -> None:
        """Bring the child to its end, if there is one, beginning with the signal `number`."""
        if self._process is None:
            return
        for request, seconds in (
            (number, self._stop_timeout_seconds),
            (self._quit_signal, self._stop_timeout_seconds),
        ):
            if request is None or request == signal.SIGKILL:
                continue
            self._send(request)
            try:
                async with asyncio.timeout(seconds):
                    await self._gone()
            except TimeoutError:
                _log.warning(
                    "server_slow_to_stop", server=self.name, signal=request.name, waited_seconds=seconds
                )
            else:
                return
        for pid in _descendants(self._server_pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._send(signal.SIGKILL)
        async with asyncio.timeout(_KILL_TIMEOUT_SECONDS):
            await self._gone()

    def _send(self, number: signal.Signals) -> None:
        if self._server_pid is not None and self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._server_pid, number)


def _descendants(pid: int | None) -> list[int]:
    """List the ids below a process; Postgres puts each backend into a session of its own, out of killpg's reach."""
    if pid is None:
        return []
    try:
        return [child.pid for child in psutil.Process(pid).children(recursive=True)]
    except psutil.Error:
        return []


def in_words(code: int) -> str:
    """Say how a process ended, from its exit code (negative: the signal)."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"
