"""The edge of the API: the ids of a request, its count, and a clean end for what failed before any route."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request

from cos.backend.problems import cos_problem
from cos.common import clock, context
from cos.errors import Unavailable

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

_STOPPED = (
    "COS has stopped before this request was done; what of it was recorded is not known, try again shortly."
)


class Edge:
    """Pure ASGI, around everything, the gate too: carries `X-Request-ID` in and out, and counts answers."""

    def __init__(self, app: ASGIApp) -> None:
        """Wrap the app."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
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
