"""A span for each request, inside the edge; only put there when spans are asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cos.common import context

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from cos.common.telemetry import Telemetry


class Traced:
    """Pure ASGI; what a request records carries its span as `traceparent`."""

    def __init__(self, app: ASGIApp, *, telemetry: Telemetry) -> None:
        """Wrap the app."""
        self._app = app
        self._telemetry = telemetry

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request inside its span."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        method = scope["method"]
        with self._telemetry.span(
            method,
            parent=context.traceparent.get(),
            kind="server",
            attributes={"http.request.method": method, "url.path": scope["path"]},
        ) as span:

            async def told(message: Message) -> None:
                if message["type"] == "http.response.start":
                    route = getattr(scope.get("route"), "path", "")
                    span.update_name(f"{method} {route}".strip())
                    span.set_attribute("http.route", route)
                    span.set_attribute("http.response.status_code", message["status"])
                await send(message)

            await self._app(scope, receive, told)
