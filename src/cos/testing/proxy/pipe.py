"""One connection through the proxy: two ends, and what is on its way between them."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections import deque
from typing import TYPE_CHECKING, Any, Final, cast

if TYPE_CHECKING:
    from collections.abc import Callable

    from cos.testing.proxy.weather import Weather

#: How much may be on its way in one direction before its sender has to wait.
MOST_ON_THE_WAY: Final = 1024 * 1024
#: Under a bandwidth data moves in pieces of so many seconds, so that it flows and does not jump.
_SLICE_SECONDS: Final = 0.02


class End(asyncio.Protocol):
    """One end of a pipe; hands what it reads to the other end, at once or when the weather allows."""

    def __init__(self, pipe: Pipe) -> None:
        """Belong to `pipe`."""
        self._pipe = pipe
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[tuple[float, bytes]] = deque()
        self._waiting_bytes = 0
        self._timer: asyncio.TimerHandle | None = None
        self._last = 0.0
        self._finished = False
        self.transport: asyncio.Transport | None = None
        self.other: End | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport; what the other end has read before can go on now."""
        self.transport = cast("asyncio.Transport", transport)
        sock = transport.get_extra_info("socket")
        if sock is not None and sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._pipe.weather_changed()

    def data_received(self, data: bytes) -> None:
        """Hand a piece on."""
        pipe = self._pipe
        if pipe.weather.is_clear and not self._waiting and self.other is not None and self.other.transport:
            self.other.transport.write(data)
        elif pipe.weather.state == "reset":
            pipe.reset()
        else:
            self._put(data)

    def eof_received(self) -> bool:
        """End the other end's stream too, after what is on its way; keep this one open for the answer."""
        self._finished = True
        self.flow()
        return True

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002  (the protocol's signature)
        """End the pipe, once what this end has said is delivered."""
        self._pipe.lost(self)

    def pause_writing(self) -> None:
        """Stop reading what would be written here."""
        if self.other is not None and self.other.transport is not None:
            _pause(self.other.transport)

    def resume_writing(self) -> None:
        """Read again."""
        self._pipe.weather_changed()

    def deliver_now(self) -> None:
        """Send everything that waits, whatever it waits for."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._waiting = deque((0.0, data) for _, data in self._waiting)
        self._last = 0.0
        self.flow()

    @property
    def is_empty(self) -> bool:
        """Tell whether nothing of this end is on its way any more."""
        return not self._waiting

    def _put(self, data: bytes) -> None:
        weather, now = self._pipe.weather, self._loop.time()
        size = (
            max(1, int(weather.bytes_per_second * _SLICE_SECONDS)) if weather.bytes_per_second else len(data)
        )
        for begin in range(0, len(data), size):
            piece = data[begin : begin + size]
            at = max(now + weather.delay(), self._last)
            if weather.bytes_per_second:
                at += len(piece) / weather.bytes_per_second
            self._last = at
            self._waiting.append((at, piece))
        self._waiting_bytes += len(data)
        if self._waiting_bytes > MOST_ON_THE_WAY and self.transport is not None:
            _pause(self.transport)
        self.flow()

    def flow(self) -> None:
        """Deliver what is due and come again for the rest."""
        to = self.other.transport if self.other is not None else None
        if to is None or self._pipe.weather.state == "blackhole":
            return
        now = self._loop.time()
        while self._waiting and self._waiting[0][0] <= now:
            _, data = self._waiting.popleft()
            self._waiting_bytes -= len(data)
            to.write(data)
        if self._waiting_bytes <= MOST_ON_THE_WAY // 2 and self.transport is not None:
            _resume(self.transport)
        if self._waiting:
            if self._timer is None:
                self._timer = self._loop.call_at(self._waiting[0][0], self._come_again)
        elif self._finished:
            _finish(to)
            self._pipe.drained(self)

    def _come_again(self) -> None:
        self._timer = None
        self.flow()


class Pipe:
    """A client's connection and the one to its server."""

    def __init__(self, *, weather: Weather, ended: Callable[[Pipe], None]) -> None:
        """Make both ends; the proxy connects them.

        Args:
            weather: at the moment.
            ended: called once, when neither end is left.
        """
        self.weather = weather
        self._ended = ended
        self.client = End(self)
        self.server = End(self)
        self.client.other, self.server.other = self.server, self.client
        self._lost: set[End] = set()

    def change(self, weather: Weather) -> None:
        """Let other weather begin: what waits for the old one goes on at once, unless nothing may."""
        self.weather = weather
        match weather.state:
            case "cut":
                self.close()
            case "reset":
                self.reset()
            case "open":
                for end in (self.client, self.server):
                    end.deliver_now()
        self.weather_changed()

    def weather_changed(self) -> None:
        """Read from both ends, or from none."""
        held = self.weather.state == "blackhole" or self.server.transport is None
        for end in (self.client, self.server):
            if end.transport is not None:
                (_pause if held else _resume)(end.transport)
        if not held:
            for end in (self.client, self.server):
                end.flow()

    def lost(self, end: End) -> None:
        """Hear that an end's connection is no more."""
        self._lost.add(end)
        other = end.other
        if other is not None and other.transport is not None and (end.is_empty or self.weather.is_clear):
            other.transport.close()
        if len(self._lost) == 2 or other is None or other.transport is None:  # noqa: PLR2004
            self._ended(self)

    def drained(self, end: End) -> None:
        """Hear that all that an end had said is delivered: when it is gone, so is the pipe."""
        if end in self._lost and end.other is not None and end.other.transport is not None:
            end.other.transport.close()

    def close(self) -> None:
        """End both connections in good order."""
        for end in (self.client, self.server):
            if end.transport is not None:
                end.transport.close()

    def reset(self) -> None:
        """Break both connections off: over TCP both sides hear a reset."""
        for end in (self.client, self.server):
            if end.transport is not None:
                sock: Any = end.transport.get_extra_info("socket")
                if sock is not None and sock.family != socket.AF_UNIX:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                end.transport.abort()


def _pause(transport: asyncio.Transport) -> None:
    if transport.is_reading():
        transport.pause_reading()


def _resume(transport: asyncio.Transport) -> None:
    if not transport.is_closing() and not transport.is_reading():
        transport.resume_reading()


def _finish(transport: asyncio.Transport) -> None:
    if not transport.is_closing() and transport.can_write_eof():
        transport.write_eof()
