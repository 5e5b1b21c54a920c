"""What every page has around its own content: the contents list, the state, the viewer's theme."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cos.backend.auth.gate import grant_of
from cos.backend.auth.scopes import ADMIN
from cos.backend.dashboard import pages
from cos.backend.dashboard.health import Report
from cos.backend.dashboard.health import report as measured
from cos.backend.dashboard.views import VIEWS
from cos.common import clock

if TYPE_CHECKING:
    from starlette.requests import Request


async def frame(
    request: Request,
    *,
    view: str,
    title: str,
    live: str | None = None,
    report: Report | None = None,
    notice: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Give what `page.html` shows around any content; never raises, so that an error can be shown too.

    Args:
        request: whose page it is.
        view: name of the view, marked in the contents list.
        title: of the page.
        live: address of its live parts, None when it has none.
        report: the health, when it was measured already.
        notice: what was just done (`said`), and the `secret` that is shown this once.
    """
    grant = grant_of(request)
    return {
        "view": view,
        "title": title,
        "live": live,
        "nav": [one for one in VIEWS if grant.scope >= ADMIN or not one.administers],
        "report": report or await measured(request.app.state.services),
        "theme": pages.theme(request),
        "csrf": grant.csrf,
        "notice": notice,
        "oob": False,
        "now": clock.now(),
    }
