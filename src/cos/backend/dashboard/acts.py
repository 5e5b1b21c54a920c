"""What a person does on the page: each act calls the service that the API calls, and shows what it changed."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Path, Request, Response

from cos.backend.cc import service as cc
from cos.backend.cc.schemas import ModuleIn, ModulePatch
from cos.backend.dashboard import letters
from cos.backend.dashboard.acted import acted
from cos.backend.dashboard.forms import filled
from cos.backend.dashboard.route import PageRoute
from cos.backend.dashboard.words import plural
from cos.backend.deps import ServicesDep
from cos.backend.highway import service as highway
from cos.backend.highway.schemas import LettersMeant
from cos.backend.scratch import service as scratch
from cos.backend.scratch.schemas import NoteIn, NotePatch
from cos.errors import NotFound
from cos.memory import projections

router = APIRouter(route_class=PageRoute, include_in_schema=False)


@router.post("/ui/modules")
async def create_module(request: Request, services: ServicesDep) -> Response:
    """Register a module."""
    given = await filled(request, ModuleIn)
    async with services.sessions() as db, db.begin():
        made = await cc.create_module(db, given)
    return await acted(request, "modules", f"{made.name} is registered.")


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
    return await acted(request, "modules", said)


@router.post("/ui/notes")
async def keep_note(request: Request, services: ServicesDep) -> Response:
    """Keep a scratch note."""
    given = await filled(request, NoteIn)
    async with services.sessions() as db, db.begin():
        made = await scratch.create(db, given, services.settings)
    return await acted(request, "notes", f"{made.key} is kept.")


@router.post("/ui/notes/{note_id}/{act}")
async def act_on_note(
    request: Request, note_id: Annotated[int, Path(ge=1, lt=2**63)], act: str, services: ServicesDep
) -> Response:
    """Change or delete a scratch note."""
    async with services.sessions() as db, db.begin():
        if act == "change":
            made = await scratch.change(db, note_id, await filled(request, NotePatch, blank="content"))
            said = f"{made.key} is kept."
        elif act == "remove":
            await scratch.remove(db, note_id)
            said = "The note is deleted."
        else:
            raise NotFound(f"A note cannot be asked to {ascii(act)[:40]}.")
    return await acted(request, "notes", said)


@router.post("/ui/letters/{act}")
async def act_on_letters(request: Request, act: str, services: ServicesDep) -> Response:
    """Requeue or drop every letter of the filter."""
    wanted = letters.wanted(request.query_params)
    meant = LettersMeant.model_validate({**asdict(wanted), "all": True})
    async with services.sessions() as db, db.begin():
        if act == "requeue":
            done = await highway.requeue_letters(db, meant)
            said = f"{plural(done.count, 'letter')} will be delivered once more."
        elif act == "drop":
            done = await highway.drop_letters(db, meant)
            said = f"{plural(done.count, 'letter')} dropped."
        else:
            raise NotFound(f"Dead letters cannot be asked to {ascii(act)[:40]}.")
    return await acted(request, "letters", said, query=dict(request.query_params))


@router.post("/ui/letters/{letter_id}/{act}")
async def act_on_letter(request: Request, letter_id: UUID, act: str, services: ServicesDep) -> Response:
    """Requeue or drop one letter."""
    async with services.sessions() as db, db.begin():
        if act == "requeue":
            await highway.requeue_letter(db, letter_id)
            said = "The letter will be delivered once more."
        elif act == "drop":
            await highway.drop_letter(db, letter_id)
            said = "The letter is dropped."
        else:
            raise NotFound(f"A dead letter cannot be asked to {ascii(act)[:40]}.")
    return await acted(request, "letters", said)


@router.post("/ui/readers/{name}/{act}")
async def act_on_projection(request: Request, name: str, act: str, services: ServicesDep) -> Response:
    """Pause, resume or rebuild a projection."""
    async with services.sessions() as db, db.begin():
        if act == "pause":
            await highway.change_projection(db, name, projections.pause, "projection.paused")
            said = f"{name} is paused; its tables stay as they are."
        elif act == "resume":
            await highway.change_projection(db, name, projections.resume, "projection.resumed")
            said = f"{name} goes on where it stopped."
        elif act == "rebuild":
            await highway.change_projection(db, name, projections.rebuild, "projection.rebuilding")
            said = f"{name} is built anew beside what is there."
        else:
            raise NotFound(f"A projection cannot be asked to {ascii(act)[:40]}.")
    return await acted(request, "readers", said)
