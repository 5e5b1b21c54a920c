"""An answer on its way out: it gets its security headers, and one without an end is ended when its token is."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from cos.backend.auth.headers import secure
from cos.common import clock

if TYPE_CHECKING:
    from starlette.types import Message, Send

#: How often a stream's token is looked at again, in seconds; it says something at least every few seconds.
JUDGE_AGAIN_SECONDS = 2.0

_PARTS = frozenset({"http.response.body", "websocket.send"})


class Answer:
    """Stands between the app and the server while one request is answered.

    Attributes:
        status: of the answer; 0 before it began.
        still_allowed: asked from time to time during an answer without an end; None where nothing can change.
    """

    __slots__ = ("_ended", "_https", "_judged_at_seconds", "_send", "status", "still_allowed")

    def __init__(self, send: Send, *, https: bool) -> None:
        """Take the server's `send`."""
        self._send = send
        self._https = https
        self._ended = False
        self._judged_at_seconds = 0.0
        self.status = 0
        self.still_allowed: Callable[[], Awaitable[bool]] | None = None

    async def send(self, message: Message) -> None:
        """Pass a message on; nothing any more after the answer was ended here."""
        kind = message["type"]
        if kind in {"http.response.start", "websocket.http.response.start"}:
            self.status = message["status"]
            self._judged_at_seconds = clock.monotonic()
            secure(message, https=self._https)
        elif self.still_allowed is not None and kind in _PARTS and await self._is_over(message):
            return
        await self._send(message)

    async def _is_over(self, message: Message) -> bool:
        if self._ended:
            return True
        websocket = message["type"] == "websocket.send"
        if not websocket and not message.get("more_body", False):
            return False
        if clock.monotonic() - self._judged_at_seconds < JUDGE_AGAIN_SECONDS:
            return False
        self._judged_at_seconds = clock.monotonic()
        if self.still_allowed is None or await self.still_allowed():
            return False
        self._ended = True
        # What listens behind us finds the connection gone, and stops.
        await self._send(
            {"type": "websocket.close", "code": 1008, "reason": "The token was revoked or has expired."}
            if websocket
            else {"type": "http.response.body", "body": b"", "more_body": False}
        )
        return True
