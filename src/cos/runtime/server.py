"""The HTTP server inside a COS process: uvicorn on a socket that was bound before anything else was started."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import uvicorn

from cos.backend.deps import STOPPING
from cos.errors import ServerFailed
from cos.runtime.listener import HOST, bind

if TYPE_CHECKING:
    import socket

    from starlette.types import ASGIApp, Receive, Scope, Send

__all__ = ["HOST", "ApiServer", "bind"]

_START_SECONDS = 10.0


class _Uvicorn(uvicorn.Server):
    """Uvicorn without its own signal handling: the process has one owner of signals, and this is not it."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals alone."""
        yield


class ApiServer:
    """Serves the app until it is stopped; requests in flight are finished first."""

    def __init__(self, *, app: ASGIApp, listener: socket.socket, stop_timeout_seconds: float) -> None:
        """Take the app and its bound socket.

        Args:
            app: what to serve.
            listener: from `bind`.
            stop_timeout_seconds: how long requests in flight may take at a stop.
        """
        self._app = app
        self._listener = listener
        self._stop_timeout_seconds = stop_timeout_seconds
        config = uvicorn.Config(
            self._serve,
            interface="asgi3",
            lifespan="off",
            http="httptools",
            ws="websockets-sansio",
            ws_max_size=64 * 1024,  # nothing is expected from a follower
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_keep_alive=30,
            timeout_graceful_shutdown=max(1, int(stop_timeout_seconds)),
        )
        self._server = _Uvicorn(config)
        self._task: asyncio.Task[None] | None = None
        self._stopping = asyncio.Event()

    @property
    def url(self) -> str:
        """Where it is reached."""
        host, port = self._listener.getsockname()[:2]
        return f"http://{host}:{port}"

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope[STOPPING] = self._stopping
        try:
            await self._app(scope, receive, send)
        except asyncio.CancelledError:
            if not self._server.should_exit:
                raise
            # Given up on at a stop, and answered by the edge: uvicorn would log it as a fault of ours.

    async def start(self) -> None:
        """Return when requests are answered."""
        self._task = asyncio.create_task(self._server.serve(sockets=[self._listener]), name="api")
        async with asyncio.timeout(_START_SECONDS):
            while not self._server.started:
                if self._task.done():
                    raise ServerFailed("The API did not start; its log says why.") from self._task.exception()
                await asyncio.sleep(0.005)

    async def stop(self) -> None:
        """Take no more requests, finish those in flight, tell the endless ones to end, and end."""
        self._stopping.set()
        task, self._task = self._task, None
        if task is None:
            self._listener.close()
            return
        self._server.should_exit = True
        done, _ = await asyncio.wait([task], timeout=self._stop_timeout_seconds + 0.5)
        if not done:
            self._server.force_exit = True
            task.cancel()
            await asyncio.wait([task], timeout=1.0)
