"""The HTTP server inside a COS process: uvicorn on a socket that is bound before anything else is started."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import uvicorn

from cos.backend.deps import STOPPING
from cos.errors import PortTaken, ServerFailed

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

HOST = "127.0.0.1"
_START_SECONDS = 10.0
_BACKLOG = 1024


def bind(port: int) -> socket.socket:
    """Bind the API's port on loopback.

    Args:
        port: 0 takes a free one.

    Raises:
        PortTaken: another program has it, or this account may not use it.
    """
    # Named, because asyncio turns Nagle's algorithm off only on sockets that say they are TCP: without it an answer
    # can wait 40 ms for the client's delayed acknowledgement.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    # Lets a restart take the port at once although connections of the last run are still in TIME_WAIT.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((HOST, port))
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        if error.errno == errno.EACCES:
            raise PortTaken(
                f"Port {port} may not be used by this account; choose one above 1023 with --port."
            ) from None
        raise PortTaken(
            f"Port {port} on {HOST} is taken by another program; stop it, or choose another with --port."
        ) from None
    listener.setblocking(False)  # noqa: FBT003  (positional only)
    return listener


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
