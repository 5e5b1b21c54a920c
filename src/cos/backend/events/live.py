"""The live feed over HTTP: server-sent events, and WebSocket for who needs it; the same events and promises."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

import structlog
from starlette.responses import Response
from starlette.websockets import WebSocketDisconnect, WebSocketState

from cos.backend.deps import STOPPING
from cos.common import clock
from cos.common.deadline import Deadline
from cos.errors import CosError
from cos.memory.feed import TooSlow

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from starlette.types import Receive, Scope, Send
    from starlette.websockets import WebSocket

    from cos.memory.feed import Batch, Feed, Wanted
    from cos.memory.position import Position

_log = structlog.get_logger("cos.feed")

HEARTBEAT_SECONDS = 15.0
#: A reader that takes nothing for so long is let go, whatever fits into the buffers between.
SEND_SECONDS = 30.0
RETRY_MS = 1000
_GOING_AWAY, _TRY_AGAIN_LATER = 1001, 1013


class Live(Response):
    """An endless answer of server-sent events; `id` is the position, which a client sends back as `Last-Event-ID`."""

    media_type = "text/event-stream"

    def __init__(self, *, feed: Feed, wanted: Wanted, since: Position | None) -> None:
        """Take what is followed from where."""
        super().__init__(headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._feed = feed
        self._wanted = wanted
        self._since = since

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send until the reader goes, is too slow, or the server stops."""
        items = self._feed.follow(self._wanted, self._since)
        gone = asyncio.ensure_future(_gone(receive))
        body = _Body(send)
        try:
            first = await anext(items)  # an error of the log is still an answer with a status of its own
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            await body.send(f"retry: {RETRY_MS}\n\n".encode())
            await self._follow(items, first, scope.get(STOPPING), gone, body)
            with suppress(TimeoutError):
                await body.send(b"", more=False)
        finally:
            body.close()
            gone.cancel()
            await items.aclose()

    async def _follow(
        self,
        items: AsyncGenerator[Batch, None],
        batch: Batch,
        stopping: asyncio.Event | None,
        gone: asyncio.Future[None],
        body: _Body,
    ) -> None:
        heard_at = clock.monotonic()
        while not gone.done():
            if stopping is not None and stopping.is_set():
                await body.send(b"event: bye\ndata: COS stops; come back with the last id.\n\n")
                return
            try:
                if batch.items:
                    await body.send(b"".join(item.frame for item in batch.items))
                    heard_at = clock.monotonic()
                elif clock.monotonic() - heard_at >= HEARTBEAT_SECONDS:
                    # An id without data moves the client's place, so that it need not look through all this again.
                    await body.send(b": beat\nid: %s\n\n" % str(batch.upto).encode())
                    heard_at = clock.monotonic()
                batch = await anext(items)
            except TooSlow as slow:
                _log.info("follower_too_slow")
                await body.send(b"event: too-slow\ndata: " + slow.detail.encode() + b"\n\n")
                return
            except TimeoutError:
                _log.info("follower_takes_nothing")
                return
            except CosError as error:
                await body.send(b"event: error\ndata: " + error.detail.encode() + b"\n\n")
                return


class _Body:
    """Sends the pieces of one answer, each within the time that a reader has for it."""

    def __init__(self, send: Send) -> None:
        """Take what sends; must be made in the task that answers."""
        self._asgi_send = send
        self._deadline = Deadline(seconds=SEND_SECONDS)

    async def send(self, piece: bytes, *, more: bool = True) -> None:
        """Send a piece; raises TimeoutError when the reader takes nothing for too long."""
        self._deadline.begin()
        try:
            await self._asgi_send({"type": "http.response.body", "body": piece, "more_body": more})
        except asyncio.CancelledError:
            if self._deadline.end():
                raise TimeoutError from None
            raise
        self._deadline.end()

    def close(self) -> None:
        """Give up the timer."""
        self._deadline.close()


async def _gone(receive: Receive) -> None:
    """Return when the reader has gone."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def over_websocket(websocket: WebSocket, *, feed: Feed, wanted: Wanted, since: Position | None) -> None:
    """Send each event as one text message, the envelope as JSON, until the reader goes or the server stops."""
    await websocket.accept()
    stopping: asyncio.Event | None = websocket.scope.get(STOPPING)
    leaving = asyncio.ensure_future(_left(websocket))
    items = feed.follow(wanted, since)
    code, reason = _GOING_AWAY, "COS stops; come back with the last position."
    try:
        async for batch in items:
            if leaving.done():
                return
            if stopping is not None and stopping.is_set():
                break
            for item in batch.items:
                async with asyncio.timeout(SEND_SECONDS):
                    await websocket.send_text(item.envelope)
    except (WebSocketDisconnect, TimeoutError):
        return
    except CosError as error:
        code, reason = _TRY_AGAIN_LATER, error.detail[:120]
    finally:
        leaving.cancel()
        await items.aclose()
    if websocket.application_state is WebSocketState.CONNECTED:
        with suppress(RuntimeError):  # it left in this moment
            await websocket.close(code, reason)


async def _left(websocket: WebSocket) -> None:
    with suppress(WebSocketDisconnect):
        while True:
            await websocket.receive_text()
