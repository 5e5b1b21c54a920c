"""The answer to what a person did on the page: what it changed, and a sentence that says so."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi import Response

from cos.backend.dashboard import health, pages
from cos.backend.dashboard.frame import frame
from cos.backend.dashboard.view import Asked
from cos.backend.dashboard.views import BY_NAME

if TYPE_CHECKING:
    from fastapi import Request


async def acted(
    request: Request,
    name: str,
    said: str,
    *,
    query: dict[str, str] | None = None,
    secret: str | None = None,
    opened: str | None = None,
) -> Response:
    """Answer an act: with the view's changed part to htmx, with its page to a plain form.

    Args:
        request: of the act.
        name: of the view that it belongs to.
        said: what was done, in a sentence.
        query: of the view.
        secret: shown this once, and nowhere kept.
        opened: what now stands beside the list, as HTML; None leaves it as it is.
    """
    view = BY_NAME[name]
    services = request.app.state.services
    notice: dict[str, Any] = {"said": said, "secret": secret}
    if not pages.wants_fragment(request) and secret is None:
        return Response(status_code=303, headers={"Location": view.path})
    report = await health.report(services)
    asked = Asked(services=services, report=report, query=query or {}, origin="")
    if not pages.wants_fragment(request):  # a redirect would lose the secret
        around = await frame(
            request, view=name, title=view.title, report=report, live=f"/ui/live/{name}", notice=notice
        )
        return pages.html(pages.render(f"{name}.html", around | await view.load(asked)))
    around = await frame(request, view=name, title=view.title, report=report)
    text = pages.render(f"parts/{view.parts[0]}.html", around | await view.load(asked))
    if opened is not None:
        text += pages.render("parts/beside.html", {"opened": opened})
    return pages.html(text + pages.render("parts/notice.html", {"notice": notice, "oob": True}))
