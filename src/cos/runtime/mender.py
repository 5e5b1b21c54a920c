"""Heals an embedded server that lives but does not answer: a paused one is continued, a hanging one is ended.

What dies is started again by its supervisor; this is for what does not die. It acts on what the health monitor has
measured for a while, never more often than once in five minutes for the last means, and says what it did.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING

import psutil
import structlog

from cos.common import clock
from cos.common.health import State

if TYPE_CHECKING:
    from cos.common.monitor import Monitor
    from cos.infra.server import Server

_log = structlog.get_logger("cos.mender")

INTERVAL_SECONDS = 2.0
#: A paused server is continued as soon as it has been noticed; a hanging one is given this long.
HANGING_SECONDS = 30.0
#: Between two ends of the same server: one that hangs again at once has a cause that ending it does not mend.
REPEAT_SECONDS = 300.0


class Mender:
    """A background part (see `cos.common.looper`)."""

    def __init__(self, *, monitor: Monitor, servers: Mapping[str, Server]) -> None:
        """Take what is watched.

        Args:
            monitor: whose parts have the servers' names.
            servers: that this process runs, by name; given ones are left alone.
        """
        self._monitor = monitor
        self._servers = servers
        self._ended_at: dict[str, float] = {}

    async def turn(self) -> float:
        """Look once."""
        report = await self._monitor.report()
        for name, server in self._servers.items():
            part = report.part(name)
            if (
                part is None
                or part.state is not State.DOWN
                or server.state != "running"
                or server.pid is None
            ):
                continue
            for_seconds = 0.0 if part.since is None else (clock.now() - part.since).total_seconds()
            self._mend(name, server.pid, for_seconds)
        return INTERVAL_SECONDS

    def continue_paused(self) -> None:
        """Continue what is paused at once: before a stop, which would wait for its answers."""
        for name, server in self._servers.items():
            if server.pid is not None:
                self._continue(name, server.pid)

    def _continue(self, name: str, pid: int) -> bool:
        paused = [one for one in _family(pid) if _is_paused(one)]
        for one in paused:
            with suppress(psutil.Error):
                one.resume()
        if paused:
            _log.warning("server_continued", server=name, pids=[one.pid for one in paused])
        return bool(paused)

    def _mend(self, name: str, pid: int, for_seconds: float) -> None:
        if self._continue(name, pid):
            return
        last = self._ended_at.get(name, float("-inf"))
        if for_seconds < HANGING_SECONDS or clock.monotonic() - last < REPEAT_SECONDS:
            return
        self._ended_at[name] = clock.monotonic()
        _log.error("server_ended", server=name, pid=pid, did_not_answer_seconds=round(for_seconds))
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _family(pid: int) -> list[psutil.Process]:
    try:
        server = psutil.Process(pid)
        return [server, *server.children(recursive=True)]
    except psutil.Error:
        return []


def _is_paused(process: psutil.Process) -> bool:
    try:
        return process.status() == psutil.STATUS_STOPPED
    except psutil.Error:
        return False
