"""The dashboard's routes: a page a view, one event, the live parts, and the acts of a person."""

from __future__ import annotations

import mimetypes
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Path, Request, Response
from starlette.responses import StreamingResponse

from cos.backend.auth.gate import grant_of
from cos.backend.dashboard import (
    access_acts,
    acts,
    health,
    letters,
    pages,
    sign_in,
    webhook_acts,
    webhooks,
)
from cos.backend.dashboard.delivery import route_of
from cos.backend.dashboard.frame import frame
from cos.backend.dashboard.live import Viewers, changes
from cos.backend.dashboard.reference import groups_of
from cos.backend.dashboard.route import PageRoute
from cos.backend.dashboard.view import Asked, View
from cos.backend.dashboard.views import BY_NAME
from cos.backend.deps import ServicesDep
from cos.backend.scratch import service as scratch
from cos.errors import NotFound
from cos.memory import reader

router = APIRouter(route_class=PageRoute, include_in_schema=False)
router.include_router(acts.router)
router.include_router(webhook_acts.router)
router.include_router(access_acts.router)
router.include_router(sign_in.router)

_FOR_EVER = "public, max-age=31536000, immutable"


@router.get("/")
async def overview(request: Request) -> Response:
    """Show how COS is."""
    return await _show(request, BY_NAME["overview"])


@router.get("/docs")
async def reference(request: Request) -> Response:
    """Show every route, for people."""
    around = await frame(request, view="docs", title="The API")
    groups = groups_of(request.app.openapi())
    return pages.html(pages.render("reference.html", around | {"groups": groups}))


@router.get("/ui/static/{path:path}")
async def static(path: str) -> Response:
    """Give a file of the page; its address changes with its content."""
    file = (pages.STATIC / path).resolve() if "\x00" not in path else pages.STATIC
    if not file.is_relative_to(pages.STATIC) or not file.is_file():
        raise NotFound(f"The page has no file {ascii(path)[:80]}.")
    kind = "font/woff2" if file.suffix == ".woff2" else mimetypes.guess_type(file.name)[0]
    return Response(file.read_bytes(), media_type=kind, headers={"Cache-Control": _FOR_EVER})


@router.get("/ui/live/{name}")
async def live(request: Request, name: str, services: ServicesDep) -> Response:
    """Send the parts of a view whenever they change."""
    view = _view(name)
    viewers: Viewers = request.app.state.viewers
    viewers.check()
    stream = changes(
        request=request,
        view=view,
        services=services,
        viewers=viewers,
        boot=f"{services.started_at_seconds:.3f}",
    )
    return StreamingResponse(stream, media_type="text/event-stream", headers={"Cache-Control": "no-store"})


@router.get("/ui/events/{event_id}")
async def event(request: Request, event_id: UUID, services: ServicesDep) -> Response:
    """Show one event whole."""
    async with services.sessions() as db, db.begin():
        found = await reader.get(db, event_id)
        if found is None:
            raise NotFound(f"There is no event {event_id}.")
        envelope, prompt = found
        route = await route_of(services, db, envelope)
    context = {"event": envelope, "data": bytes(envelope.data).decode(), "prompt": prompt, "route": route}
    return await _opened(request, "event", view="events", title=envelope.type, context=context)


@router.get("/ui/letters/{letter_id}")
async def letter(request: Request, letter_id: UUID, services: ServicesDep) -> Response:
    """Show one dead letter whole."""
    async with services.sessions() as db, db.begin():
        context = await letters.one(db, letter_id)
    title = context["letter"].type or "Unreadable event"
    return await _opened(request, "letter", view="letters", title=title, context=context)


@router.get("/ui/webhooks/{webhook_id}")
async def webhook(request: Request, webhook_id: UUID, services: ServicesDep) -> Response:
    """Show one webhook with its last tries."""
    async with services.reads.connect() as db:
        context = await webhooks.one(db, webhook_id)
    return await _opened(request, "webhook", view="webhooks", title=context["webhook"].url, context=context)


@router.get("/ui/notes/{note_id}")
async def note(
    request: Request, note_id: Annotated[int, Path(ge=1, lt=2**63)], services: ServicesDep
) -> Response:
    """Show one scratch note, to be changed."""
    async with services.sessions() as db, db.begin():
        found = await scratch.get(db, note_id=note_id, extend=False)
    return await _opened(request, "note", view="notes", title=found.key, context={"note": found})


@router.get("/ui/{name}")
async def page(request: Request, name: str) -> Response:
    """Show one view."""
    return await _show(request, _view(name))


def _view(name: str) -> View:
    view = BY_NAME.get(name)
    if view is None:
        raise NotFound(f"The dashboard has no page {ascii(name)[:80]}.")
    return view


async def _show(request: Request, view: View) -> Response:
    report = await health.report(request.app.state.services)
    asked = Asked(
        services=request.app.state.services,
        report=report,
        query=dict(request.query_params),
        origin=str(request.base_url).rstrip("/"),
    )
    context = await view.load(asked)
    if pages.wants_fragment(request):
        around = await frame(request, view=view.name, title=view.title, report=report)
        return pages.html(pages.render(f"parts/{view.parts[0]}.html", around | context))
    return await _page(request, f"{view.name}.html", view=view.name, title=view.title, context=context)


async def _page(
    request: Request, template: str, *, view: str, title: str, context: dict[str, Any]
) -> Response:
    around = await frame(request, view=view, title=title, live=f"/ui/live/{view}")
    return pages.html(pages.render(template, around | context))


async def _opened(request: Request, name: str, *, view: str, title: str, context: dict[str, Any]) -> Response:
    """Show one thing whole: alone to htmx, which puts it beside its list, else as a page of its own."""
    context["fragment"] = pages.wants_fragment(request)
    if context["fragment"]:
        return pages.html(pages.render(f"parts/{name}.html", {"csrf": grant_of(request).csrf, **context}))
    return await _page(request, f"{name}.html", view=view, title=title, context=context)
