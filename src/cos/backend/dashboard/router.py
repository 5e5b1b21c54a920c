"""The dashboard's routes: a page a view, one event, the live parts, and the acts of a person."""

from __future__ import annotations

import mimetypes
from typing import Any
from uuid import UUID

from fastapi import APIRouter, Request, Response
from starlette.responses import StreamingResponse

from cos.backend.cc import service as cc
from cos.backend.cc.schemas import ModuleIn, ModulePatch
from cos.backend.dashboard import health, pages
from cos.backend.dashboard.forms import filled
from cos.backend.dashboard.frame import frame
from cos.backend.dashboard.live import changes
from cos.backend.dashboard.route import PageRoute
from cos.backend.dashboard.views import BY_NAME, Asked, View
from cos.backend.deps import ServicesDep
from cos.errors import NotFound
from cos.memory import reader

router = APIRouter(route_class=PageRoute, include_in_schema=False)

_FOR_EVER = "public, max-age=31536000, immutable"


@router.get("/")
async def overview(request: Request) -> Response:
    """Show how COS is."""
    return await _show(request, BY_NAME["overview"])


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
    stream = changes(
        request=request,
        view=view,
        services=services,
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
    fragment = pages.wants_fragment(request)
    context: dict[str, Any] = {
        "event": envelope,
        "data": bytes(envelope.data).decode(),
        "prompt": prompt,
        "delivered": [],
        "not_told": "",
        "announced": "",
        "fragment": fragment,
    }
    if fragment:
        return pages.html(pages.render("parts/event.html", context))
    return await _page(request, "event.html", view="events", title=envelope.type, context=context)


@router.get("/ui/{name}")
async def page(request: Request, name: str) -> Response:
    """Show one view."""
    return await _show(request, _view(name))


@router.post("/ui/modules")
async def create_module(request: Request, services: ServicesDep) -> Response:
    """Register a module."""
    given = await filled(request, ModuleIn)
    async with services.sessions() as db, db.begin():
        made = await cc.create_module(db, given)
    return await _acted(request, "modules", f"{made.name} is registered.")


@router.post("/ui/modules/{module_id}/{act}")
async def act_on_module(request: Request, module_id: str, act: str, services: ServicesDep) -> Response:
    """Turn a module on or off, or remove it."""
    async with services.sessions() as db, db.begin():
        if act == "remove":
            module = await cc.delete_module(db, module_id)
            said = f"{module.name} is removed."
        elif act in {"on", "off"}:
            module = await cc.change_module(db, module_id, ModulePatch(active=act == "on"))
            said = f"{module.name} is {act}."
        else:
            raise NotFound(f"A module cannot be asked to {ascii(act)[:40]}.")
    return await _acted(request, "modules", said)


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


async def _acted(request: Request, name: str, said: str) -> Response:
    """Answer an act: with the view's changed part to htmx, with its page to a plain form."""
    view = BY_NAME[name]
    if not pages.wants_fragment(request):
        return Response(status_code=303, headers={"Location": view.path})
    report = await health.report(request.app.state.services)
    asked = Asked(services=request.app.state.services, report=report, query={}, origin="")
    around = await frame(request, view=view.name, title=view.title, report=report)
    text = pages.render(f"parts/{view.parts[0]}.html", around | await view.load(asked))
    return pages.html(text + pages.render("parts/notice.html", {"said": said}))
