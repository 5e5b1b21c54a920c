"""One address where the proxy listens, and all connections that came in there."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cos.testing.proxy.pipe import Pipe
from cos.testing.proxy.weather import Weather

if TYPE_CHECKING:
    from cos.testing.proxy.pipe import End

_CONNECT_SECONDS: Final = 10.0
_BACKLOG: Final = 128

Address = str | tuple[str, int]
"""The path of a unix socket, or a host and a port."""


class Listener:
    """Listens at one address and connects each comer with the server behind it."""

    def __init__(self, *, at: Address, to: Address) -> None:
        """Describe it; `open` begins.

        Args:
            at: where; port 0 takes a free one.
            to: the server.
        """
        self._at = at
        self._to = to
        self._weather = Weather()
        self._pipes: set[Pipe] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.AbstractServer | None = None
        self._socket: socket.socket | None = None

    @property
    def address(self) -> Address:
        """Where it listens, the port that it took included."""
        if self._socket is None or isinstance(self._at, str):
            return self._at
        return self._at[0], int(self._socket.getsockname()[1])

    async def open(self) -> None:
        """Listen.

        Raises:
            OSError: the address cannot be had.
        """
        if isinstance(self._at, str):
            _remove(self._at)
            self._socket = socket.socket(socket.AF_UNIX)
            self._socket.bind(self._at)
        elif self._socket is None:
            self._socket = _bind(*self._at)
        await self._listen()

    async def change(self, weather: Weather) -> None:
        """Let other weather begin for every connection, those that come later included."""
        self._weather = weather
        if weather.state == "cut":
            await self._refuse()
        elif self._server is None:
            await self.open()
        for pipe in list(self._pipes):
            pipe.change(weather)

    async def close(self) -> None:
        """Stop listening and end every connection."""
        await self._refuse()
        for pipe in list(self._pipes):
            pipe.close()
        for task in list(self._tasks):
            task.cancel()
        if self._socket is not None:
            self._socket.close()
        if isinstance(self._at, str):
            _remove(self._at)

    async def _listen(self) -> None:
        if self._socket is None:
            return
        self._socket.setblocking(False)  # noqa: FBT003  (the standard library's signature)
        # The server closes what it is given; ours keeps the port while nothing listens there.
        given = self._socket.dup()
        loop = asyncio.get_running_loop()
        if isinstance(self._at, str):
            self._server = await loop.create_unix_server(self._come, sock=given, backlog=_BACKLOG)
        else:
            self._server = await loop.create_server(self._come, sock=given, backlog=_BACKLOG)

    async def _refuse(self) -> None:
        """Take no connections: whoever tries is refused."""
        if self._server is None or self._socket is None:
            return
        self._server.close()
        self._server = None
        # A socket that was shut down stays bound, so nobody can take the port; a unix one is bound anew at its path.
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        if isinstance(self._at, str):
            self._socket.close()

    def _come(self) -> End:
        pipe = Pipe(weather=self._weather, ended=self._pipes.discard)
        self._pipes.add(pipe)
        task = asyncio.get_running_loop().create_task(self._connect(pipe))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return pipe.client

    async def _connect(self, pipe: Pipe) -> None:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(_CONNECT_SECONDS):
                if isinstance(self._to, str):
                    await loop.create_unix_connection(lambda: pipe.server, self._to)
                else:
                    await loop.create_connection(lambda: pipe.server, *self._to)
        except (OSError, TimeoutError):
            pipe.reset()  # as the server itself would refuse


def _remove(path: str) -> None:
    Path(path).unlink(missing_ok=True)


def _bind(host: str, port: int) -> socket.socket:
    """Take a port and keep it, also while nothing listens there."""
    made = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.bind((host, port))
    if port:
        return made
    # A port that the system chose is given back when listening ends; one that was asked for is kept. So it is asked
    # for, while the first socket still holds it.
    with made:
        return _bind(host, int(made.getsockname()[1]))
