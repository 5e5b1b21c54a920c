"""The edge of the API: whom a request comes from, its ids, and a clean end for what failed before any route."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request

from cos.backend.problems import cos_problem
from cos.common import clock, context
from cos.errors import Forbidden, Unavailable

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

_STOPPED = (
    "COS has stopped before this request was done; what of it was recorded is not known, try again shortly."
)
_LOCAL = frozenset({"localhost", "127.0.0.1", "[::1]", "::1"})


class Edge:
    """Pure ASGI, around everything: refuses foreign hosts and origins, and carries `X-Request-ID` in and out.

    COS listens on loopback, where a browser can be led by any page: a Host or Origin that is not local is refused,
    which ends DNS rebinding and writes from other sites.
    """

    def __init__(self, app: ASGIApp) -> None:
        """Wrap the app."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "websocket" and _refusal(Headers(scope=scope)) is not None:
            await send({"type": "websocket.close", "code": 1008, "reason": "not from here"})
            return
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        request_id = context.accept_request_id(headers.get("x-request-id"))
        parent = context.accept_traceparent(headers.get("traceparent"))
        request_token, trace_token = context.request_id.set(request_id), context.traceparent.set(parent)

        started = False
        status, began = 500, clock.monotonic()

        async def send_with_id(message: Message) -> None:
            nonlocal started, status
            if message["type"] == "http.response.start":
                started, status = True, message["status"]
                MutableHeaders(scope=message)["X-Request-ID"] = request_id
            await send(message)

        try:
            refusal = _refusal(headers)
            if refusal is not None:
                await cos_problem(Request(scope), refusal)(scope, receive, send_with_id)
                return
            await self._app(scope, receive, send_with_id)
        except asyncio.CancelledError:
            # The server stops and has waited long enough: the client shall know that it was not heard to the end.
            if not started:
                await cos_problem(Request(scope), Unavailable(_STOPPED))(scope, receive, send_with_id)
            raise
        finally:
            self._count(scope, status, clock.monotonic() - began)
            context.request_id.reset(request_token)
            context.traceparent.reset(trace_token)

    def _count(self, scope: Scope, status: int, seconds: float) -> None:
        """Count the answer under its route, so that ids in paths make no metrics of their own."""
        app = scope.get("app")
        if app is not None:
            route = getattr(scope.get("route"), "path", "none")
            app.state.requests.count(scope["method"], route, status, seconds)


def _refusal(headers: Headers) -> Forbidden | None:
    host = headers.get("host", "")
    if _hostname(f"//{host}") not in _LOCAL:
        return Forbidden(f"The host {ascii(host)[:80]} is not this machine; use 127.0.0.1 or localhost.")
    origin = headers.get("origin")
    if origin is not None and _hostname(origin) not in _LOCAL:
        return Forbidden(f"Pages of {ascii(origin)[:80]} may not use this API.")
    return None


def _hostname(url: str) -> str | None:
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None
