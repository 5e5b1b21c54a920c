"""The scratch routes."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query

from cos.backend.cc.schemas import Text
from cos.backend.deps import BoundedRoute, ReadDb, ServicesDep
from cos.backend.problems import problems
from cos.backend.scratch import service
from cos.backend.scratch.deps import ScratchDb
from cos.backend.scratch.schemas import Cleanup, Key, Message, Note, NoteIn, NotePatch, Stats
from cos.config import Settings

router = APIRouter(prefix="/cc/mem0/scratch", tags=["scratch notes"], route_class=BoundedRoute)

MAX_ID = 2**63 - 1

NoteId = Annotated[int, Path(ge=0, le=MAX_ID)]
Extend = Annotated[
    bool | None,
    Query(description="whether reading gives the note its whole time anew; by default as the settings say"),
]


def _extends(asked: bool | None, settings: Settings) -> bool:
    return settings.scratch_extend_on_read if asked is None else asked


@router.post("/notes", responses=problems(400, 413, 422, 503))
async def create_note(given: NoteIn, db: ScratchDb, services: ServicesDep) -> Note:
    """Keep a note under a key that is free."""
    return await service.create(db, given, services.settings)


@router.get("/notes", responses=problems(422, 503))
async def list_notes(
    db: ReadDb,
    key_prefix: Annotated[Text | None, Query(max_length=255)] = None,
    include_expired: bool = False,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    offset: Annotated[int, Query(ge=0, le=MAX_ID)] = 0,
) -> list[Note]:
    """List notes in the order of their keys, all or those whose key begins so."""
    return await service.find(
        db, key_prefix=key_prefix, include_expired=include_expired, limit=limit, offset=offset
    )


@router.get("/notes/key/{key:path}", responses=problems(404, 422, 503))
async def get_note_by_key(
    key: Annotated[Key, Path()], db: ScratchDb, services: ServicesDep, extend: Extend = None
) -> Note:
    """Give the note under a key; the key may hold slashes."""
    return await service.get(db, key=key, extend=_extends(extend, services.settings))


@router.get("/notes/{note_id}", responses=problems(404, 422, 503))
async def get_note(note_id: NoteId, db: ScratchDb, services: ServicesDep, extend: Extend = None) -> Note:
    """Give a note."""
    return await service.get(db, note_id=note_id, extend=_extends(extend, services.settings))


@router.put("/notes/{note_id}", responses=problems(404, 413, 422, 503))
async def change_note(note_id: NoteId, patch: NotePatch, db: ScratchDb) -> Note:
    """Change a note's content or time; what is left out stays."""
    return await service.change(db, note_id, patch)


@router.delete("/notes/{note_id}", responses=problems(404, 422, 503))
async def delete_note(note_id: NoteId, db: ScratchDb) -> Message:
    """Delete a note, also one whose time is up."""
    await service.remove(db, note_id)
    return Message(message=f"Note {note_id} deleted successfully")


@router.get("/stats", responses=problems(503))
async def stats(db: ReadDb, services: ServicesDep) -> Stats:
    """Count the notes."""
    return await service.stats(db, services.settings)


@router.post("/cleanup", responses=problems(503))
async def clean_up(db: ScratchDb, services: ServicesDep) -> Cleanup:
    """Delete the notes whose time is up, and say how many there were."""
    return await service.clean_up(db, services.settings)


@router.post("/cleanup/background")
async def clean_up_in_background(services: ServicesDep) -> Message:
    """Have the janitor delete the notes whose time is up, without waiting for it."""
    services.janitor("cleanup")
    return Message(message="Cleanup scheduled in background")


@router.post("/stats/background")
async def stats_in_background(services: ServicesDep) -> Message:
    """Have the notes counted and the counts logged, without waiting for it."""
    services.janitor("stats")
    return Message(message="Stats collection scheduled in background")
