"""Whether a person in a browser reads the answer, who is helped by a page and not by a problem document."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.requests import Request

_PAGES = ("/ui", "/docs")


def asks_for_page(request: Request) -> bool:
    """Say whether a browser asks for a whole page."""
    wanted = request.method == "GET" and _wants_html(request)
    return wanted and _stands_on_pages(request) and request.headers.get("hx-request") is None


def reads(request: Request, *, known: bool) -> bool:
    """Say whether somebody known looks at the answer in a browser, as a page or as a part of one."""
    if not known or not _stands_on_pages(request):
        return False
    return _wants_html(request) or request.headers.get("hx-request") == "true"


def _wants_html(request: Request) -> bool:
    return "text/html" in request.headers.get("accept", "")


def _stands_on_pages(request: Request) -> bool:
    path = request.url.path
    return path == "/" or any(path == one or path.startswith(f"{one}/") for one in _PAGES)
