"""What a person does with webhooks on the page: each act calls the service that the API calls."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from fastapi import APIRouter, Request, Response
from starlette.datastructures import FormData

from cos.backend.auth.gate import grant_of
from cos.backend.dashboard import pages, webhooks
from cos.backend.dashboard.acted import acted
from cos.backend.dashboard.forms import checked
from cos.backend.dashboard.route import PageRoute
from cos.backend.deps import Services, ServicesDep
from cos.backend.webhooks import service
from cos.backend.webhooks.deps import changing
from cos.backend.webhooks.schemas import Begin, Exchange, WebhookIn, WebhookPatch, Why
from cos.errors import NotFound

router = APIRouter(route_class=PageRoute, include_in_schema=False)

_LISTS = ("modules", "types", "subjects")


@router.post("/ui/webhooks")
async def create_webhook(request: Request, services: ServicesDep) -> Response:
    """Have events posted to a URL."""
    form = await request.form()
    given = checked(
        WebhookIn, _given(form, "url", "description") | ({"after": "0-0"} if "all" in form else {})
    )
    await service.check(services, given.url)
    async with changing(services) as db:
        made = await service.create(db, given)
    since = "from now on" if given.after is None else "from the oldest one on"
    said = f"Events go to {made.url} {since}. This secret verifies them:"
    return await acted(request, "webhooks", said, secret=made.secret)


@router.post("/ui/webhooks/{webhook_id}/{act}")
async def act_on_webhook(request: Request, webhook_id: UUID, act: str, services: ServicesDep) -> Response:
    """Change, pause, resume, enable, test or delete one, or exchange its secret."""
    secret = None
    if act == "test":
        said = _came(await service.test(services, webhook_id))
    elif act == "remove":
        async with changing(services) as db:
            was = await service.remove(db, webhook_id)
        return await acted(request, "webhooks", f"Nothing goes to {was.url} any more.", opened="")
    elif act == "rotate":
        async with changing(services) as db:
            seconds = services.webhooks.overlap_seconds
            made = await service.rotate(db, webhook_id, Exchange(), overlap_seconds=seconds)
        said, secret = "The old secret signs too for a while. The new one:", made.secret
    elif act in {"change", "pause", "resume", "enable"}:
        said = await _changed(request, webhook_id, act, services)
    else:
        raise NotFound(f"A webhook cannot be asked to {ascii(act)[:40]}.")
    return await acted(
        request, "webhooks", said, secret=secret, opened=await _opened(request, webhook_id, services)
    )


async def _changed(request: Request, webhook_id: UUID, act: str, services: Services) -> str:
    if act == "change":
        patch = checked(WebhookPatch, _given(await request.form(), "url", "description"))
        if patch.url is not None:
            await service.check(services, patch.url)
        async with changing(services) as db:
            made = await service.change(db, webhook_id, patch)
        return f"{made.url} is changed."
    async with changing(services) as db:
        if act == "pause":
            made = await service.pause(db, webhook_id, Why())
            return f"{made.url} is paused; it keeps its place in the log."
        again = service.resume if act == "resume" else service.enable
        made = await again(db, webhook_id, Begin())
    return f"{made.url} goes on where it stood."


async def _opened(request: Request, webhook_id: UUID, services: Services) -> str:
    """Render the webhook as it stands beside the list."""
    async with services.reads.connect() as db:
        shown = await webhooks.one(db, webhook_id)
    return pages.render("parts/webhook.html", {"fragment": True, "csrf": grant_of(request).csrf, **shown})


def _given(form: FormData, *names: str) -> dict[str, Any]:
    """Read the fields of a form: lists are given by commas, and a list left empty means everything."""
    given: dict[str, Any] = {name: str(form[name]) for name in names if name in form}
    for name in _LISTS:
        if name in form:
            given[name] = [part.strip() for part in str(form[name]).split(",") if part.strip()]
    return given


def _came(attempt: Any) -> str:
    if attempt.delivered:
        return f"It answered the test with {attempt.status}, after {attempt.duration_ms:,.0f} ms."
    return f"The test failed: {attempt.error}"
