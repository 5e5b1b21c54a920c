"""One child process behind the guard: spawned, signalled, and brought to its end for certain."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
from typing import TYPE_CHECKING, Final, Literal, Self

import psutil

from cos.infra.launch import guarded, quickly_guarded
from cos.infra.trouble import warn

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import IO

GuardKind = Literal["exec", "pipe", "quick"]
DEFAULT_GUARD: Final[GuardKind] = "exec" if sys.platform == "linux" else "pipe"
_PID_TIMEOUT_SECONDS: Final = 10.0
_KILL_TIMEOUT_SECONDS: Final = 5.0


class Child:
    """A server process that this process started and that cannot outlive it; make it with `spawn`."""

    def __init__(self, *, process: asyncio.subprocess.Process, pid: int, pipe: socket.socket | None) -> None:
        """Hold what `spawn` made.

        Args:
            process: the direct child: the server itself, or the guard that watches it.
            pid: the server's own process id.
            pipe: our end of the guard's socket, whose closing ends the server.
        """
        self._process = process
        self._pipe = pipe
        self.pid = pid

    @classmethod
    async def spawn(
        cls,
        program: Sequence[str],
        *,
        env: Mapping[str, str],
        log: IO[bytes],
        stop_signal: signal.Signals,
        grace_seconds: float,
        guard: GuardKind,
        options: Sequence[str],
    ) -> Self:
        """Start a program behind the guard; says nothing about whether it is ready.

        Args:
            program: absolute path and arguments.
            env: its whole environment.
            log: gets its output.
            stop_signal: what it gets when this process dies.
            grace_seconds: how long a watching guard then waits before SIGKILL.
            guard: see `ServerProcess`.
            options: further options of the guard.

        Raises:
            OSError: no process could be made.
            TimeoutError: the guard did not say which process it watches.
        """
        ours: socket.socket | None = None
        theirs: socket.socket | None = None
        process: asyncio.subprocess.Process | None = None
        try:
            if guard == "pipe":
                ours, theirs = socket.socketpair()
                ours.setblocking(False)  # noqa: FBT003  (the standard library's signature)
                options = (*options, f"pipe={theirs.fileno()}", f"grace={grace_seconds}")
            quick = (
                quickly_guarded(program, stop_signal=stop_signal, options=options)
                if guard == "quick"
                else None
            )
            process = await asyncio.create_subprocess_exec(
                *(quick or guarded(program, stop_signal=stop_signal, options=options)),
                start_new_session=quick
                is not None,  # a Ctrl-C in the owner's terminal is the owner's to handle
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=env,
                pass_fds=(theirs.fileno(),) if theirs else (),
            )
            if theirs:
                theirs.close()
            return cls(process=process, pid=await _server_pid(process, ours), pipe=ours)
        except BaseException:
            # Closing our end also makes a guard that already watches end its server.
            for end in (ours, theirs):
                if end is not None:
                    end.close()
            if process is not None:
                async with asyncio.timeout(grace_seconds + _KILL_TIMEOUT_SECONDS):
                    await process.wait()
            raise

    @property
    def exit_code(self) -> int | None:
        """Its exit code, or minus the signal that killed it; None while it lives."""
        return self._process.returncode

    async def wait(self) -> int:
        """Return its exit code when it has ended."""
        code = await self._process.wait()
        if self._pipe is not None:
            self._pipe.close()
        return code

    async def end(self, requests: Sequence[tuple[signal.Signals, float]]) -> bool:
        """Bring it to its end: each request in turn, then SIGKILL for it and all below it.

        Args:
            requests: a signal and the seconds that it is given to work.

        Returns:
            False if it lives even now, which only a process stuck inside the kernel does.
        """
        for number, seconds in requests:
            self._send(number)
            self._send(signal.SIGCONT)  # a paused one could not follow, nor could its own
            for pid in self._descendants():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)
            if await self._ended_within(seconds):
                return True
            warn("server_slow_to_stop", pid=self.pid, signal=number.name, waited_seconds=seconds)
        for pid in self._descendants():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._send(signal.SIGKILL)
        if await self._ended_within(_KILL_TIMEOUT_SECONDS):
            return True
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()  # a guard that hangs
        return await self._ended_within(_KILL_TIMEOUT_SECONDS)

    async def _ended_within(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                await self.wait()
        except TimeoutError:
            return False
        return True

    def _send(self, number: signal.Signals) -> None:
        if self.exit_code is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def _descendants(self) -> list[int]:
        """List what is below it; Postgres gives each backend a session of its own, so killpg misses them."""
        try:
            return [child.pid for child in psutil.Process(self.pid).children(recursive=True)]
        except psutil.Error:
            return []


async def _server_pid(process: asyncio.subprocess.Process, pipe: socket.socket | None) -> int:
    if pipe is None:
        return process.pid
    async with asyncio.timeout(_PID_TIMEOUT_SECONDS):
        told = await asyncio.get_running_loop().sock_recv(pipe, 64)
    # A guard that could not start the server closes its end and says nothing.
    return int(told) if told.strip().isdigit() else process.pid


def in_words(code: int) -> str:
    """Say how a process ended, from its exit code (negative: the signal)."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"
