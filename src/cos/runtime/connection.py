"""One HTTP connection, and how long and how large its requests may become before anybody has judged them.

A connection is, in turn: *idle* (uvicorn's own timer ends it), in a *head* (from the first byte, or from being opened,
until the headers are complete), in a *body* (until it is complete), and *answering*. Heads that grow too large are
ended as they grow; the `Patience` looks once a second for those that take too long.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, ClassVar

import msgspec
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from cos.errors import CosError, HeadersTooLarge, RequestTimeout

_TURN_SECONDS = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionLimits:
    """What one connection may take.

    Attributes:
        head_bytes: of a request's first line and headers.
        head_seconds: until they are complete, and until the first one begins.
        body_seconds: the longest pause within a body.
    """

    head_bytes: int = 64 * 1024
    head_seconds: float = 10.0
    body_seconds: float = 30.0


class Connection(HttpToolsProtocol):
    """Uvicorn's connection, bounded; `limits` is set by a subclass, since uvicorn makes the connections."""

    limits: ClassVar[ConnectionLimits] = ConnectionLimits()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Begin to wait for the first head."""
        super().connection_made(transport)
        self._heard = self.loop.time()
        self._head_began: float | None = self._heard
        self._in_head = True
        self._head_bytes = 0

    def data_received(self, data: bytes) -> None:
        """Take what came; ends the connection when a head grows too large."""
        self._heard = self.loop.time()
        if self._in_head:
            if self._head_began is None:
                self._head_began = self._heard
            self._head_bytes += len(data)
        super().data_received(data)
        if self._in_head and self._head_bytes > self.limits.head_bytes and not self.transport.is_closing():
            self.refuse(HeadersTooLarge(f"The headers are larger than {self.limits.head_bytes} bytes."))

    def on_headers_complete(self) -> None:
        """Go from the head to the body."""
        self._in_head = False
        self._head_began = None
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Go from the body to the next head, which has not begun."""
        self._in_head = True
        self._head_bytes = 0
        super().on_message_complete()

    def late(self, now: float) -> RequestTimeout | None:
        """Give what is to be said of a request that takes too long to arrive, None when none does.

        Args:
            now: the loop's time, in seconds.
        """
        if self._head_began is not None:
            if self._is_answering() or now - self._head_began <= self.limits.head_seconds:
                return None
            return RequestTimeout(
                f"The headers of the request did not arrive within {self.limits.head_seconds:g} s."
            )
        # Also where the answer is given already: who sends on, byte by byte, would keep the connection for ever.
        if self._in_head or self.flow.read_paused:
            return None
        if now - self._heard <= self.limits.body_seconds:
            return None
        return RequestTimeout(f"Nothing of the request's body arrived for {self.limits.body_seconds:g} s.")

    def refuse(self, error: CosError) -> None:
        """Say what is wrong, where no answer has begun, and end the connection; who reads the body finds its end."""
        cycle = self._cycle()
        unanswered = cycle is not None and not cycle.response_started
        if unanswered or (self._in_head and not self._is_answering()):
            self.transport.write(_answer(error))
        self.transport.close()

    def _is_answering(self) -> bool:
        cycle = self._cycle()
        return cycle is not None and not cycle.response_complete

    def _cycle(self) -> RequestResponseCycle | None:
        """Give the request that is answered or was answered last, None before the first."""
        return self.cycle


class Patience:
    """Ends requests that do not arrive; a background part."""

    def __init__(self, *, connections: Iterable[Any]) -> None:
        """Take the server's open connections, of any protocol."""
        self._connections = connections

    async def turn(self) -> float:
        """Look at each connection once."""
        now = asyncio.get_running_loop().time()
        for one in list(self._connections):
            if isinstance(one, Connection) and (error := one.late(now)) is not None:
                one.refuse(error)
        return _TURN_SECONDS


def _answer(error: CosError) -> bytes:
    status = HTTPStatus(error.status)
    body = msgspec.json.encode(
        {
            "type": f"urn:cos:problem:{error.slug}",
            "title": error.title(),
            "status": error.status,
            "detail": error.detail,
        }
    )
    head = (
        f"HTTP/1.1 {status.value} {status.phrase}\r\ncontent-type: application/problem+json\r\n"
        f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
    )
    return head.encode() + body
