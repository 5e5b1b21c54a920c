"""The HTTP server inside a COS process: uvicorn on a socket that was bound before anything else was started."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import uvicorn

from cos.backend.deps import STOPPING
from cos.common.looper import Looper
from cos.errors import ServerFailed
from cos.runtime.connection import Connection, ConnectionLimits, Patience
from cos.runtime.listener import HOST, bind

if TYPE_CHECKING:
    import socket

    from starlette.types import ASGIApp, Receive, Scope, Send

__all__ = ["HOST", "ApiServer", "bind"]

_START_SECONDS = 10.0


#: Addresses that stand for all of this machine's; a client here calls its loopback instead.
_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  (named, to be translated)


class _Uvicorn(uvicorn.Server):
    """Uvicorn without its own signal handling: the process has one owner of signals, and this is not it."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals alone."""
        yield


class ApiServer:
    """Serves the app until it is stopped; requests in flight are finished first."""

    def __init__(
        self,
        *,
        app: ASGIApp,
        listener: socket.socket,
        stop_timeout_seconds: float,
        limits: ConnectionLimits | None = None,
        trusted_proxies: str = "",
    ) -> None:
        """Take the app and its bound socket.

        Args:
            app: what to serve.
            listener: from `bind`.
            stop_timeout_seconds: how long requests in flight may take at a stop.
            limits: of each connection.
            trusted_proxies: addresses, by commas, whose word on a client's address and scheme is taken.
        """
        self._app = app
        self._listener = listener
        self._stop_timeout_seconds = stop_timeout_seconds
        config = uvicorn.Config(
            self._serve,
            interface="asgi3",
            lifespan="off",
            http=type("Connection", (Connection,), {"limits": limits or ConnectionLimits()}),
            # Never by default, as uvicorn would from loopback: a program here could name any address.
            proxy_headers=bool(trusted_proxies),
            forwarded_allow_ips=trusted_proxies,
            ws="websockets-sansio",
            ws_max_size=64 * 1024,  # nothing is expected from a follower
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_keep_alive=30,
            timeout_graceful_shutdown=max(1, int(stop_timeout_seconds)),
        )
        self._server = _Uvicorn(config)
        self._patience = Looper(
            name="patience", part=Patience(connections=self._server.server_state.connections)
        )
        self._task: asyncio.Task[None] | None = None
        self._stopping = asyncio.Event()

    @property
    def url(self) -> str:
        """Where it is reached from this machine."""
        host, port = self._listener.getsockname()[:2]
        host = _EVERYWHERE.get(host, host)
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

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
        self._patience.start()

    async def stop(self) -> None:
        """Take no more requests, finish those in flight, tell the endless ones to end, and end."""
        self._stopping.set()
        await self._patience.stop()
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
