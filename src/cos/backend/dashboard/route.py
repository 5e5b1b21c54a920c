"""The dashboard's routes: bodies within the limit, and every error shown as a page in the words of the API."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from http import HTTPStatus
from typing import Any

import msgspec
from fastapi import Request, Response

from cos.backend import problems
from cos.backend.dashboard import pages
from cos.backend.dashboard.frame import frame
from cos.backend.deps import BoundedRoute


class PageRoute(BoundedRoute):
    """A route that answers with HTML whatever happens."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Put the handling of errors around FastAPI's own handler."""
        handle = super().get_route_handler()

        async def shown(request: Request) -> Response:
            try:
                return await handle(request)
            except Exception as error:  # noqa: BLE001  (each is told, in the same words as the API's)
                return await page_of(request, error)

        return shown


async def page_of(request: Request, error: Exception) -> Response:
    """Show an error as a page; to htmx, which puts it into the page that is there, its sentence alone."""
    answer = await problems.answer(request, error)
    told = msgspec.json.decode(answer.body)
    heading, detail = told["title"].rstrip(".") + ".", told["detail"]
    headers = {"Retry-After": answer.headers["retry-after"]} if "retry-after" in answer.headers else None
    if pages.wants_fragment(request):
        text = pages.render("parts/problem.html", {"detail": detail})
        return pages.html(text, status=answer.status_code, headers=headers)
    context = await frame(request, view="", title=heading.rstrip("."))
    context |= {
        "heading": heading,
        "detail": detail,
        "status": answer.status_code,
        "request_id": told.get("request_id")
        if answer.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR
        else None,
    }
    return pages.html(pages.render("problem.html", context), status=answer.status_code, headers=headers)
