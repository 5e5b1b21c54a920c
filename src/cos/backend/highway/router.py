"""The routes of consumer groups, projections and dead letters."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, HTTPException, Path, Query

from cos.backend.deps import BoundedRoute, ReadDb, ServicesDep
from cos.backend.highway import service
from cos.backend.highway.deps import HighwayDb
from cos.backend.highway.schemas import (
    Decided,
    GroupView,
    Letters,
    LettersMeant,
    LettersQuery,
    ProjectionView,
    Text,
    WholeLetter,
)
from cos.backend.problems import problems
from cos.memory import projections

router = APIRouter(prefix="/cc", tags=["highway"], route_class=BoundedRoute)

Name = Annotated[Text, Path(max_length=100)]


@router.get("/dead-letters", responses=problems(422, 503))
async def list_letters(wanted: Annotated[LettersQuery, Query()], db: ReadDb) -> Letters:
    """List dead letters, newest first: `next` of one page is `before` of the next."""
    return await service.list_letters(db, wanted)


@router.post("/dead-letters/requeue", responses=problems(413, 422, 503))
async def requeue_letters(meant: LettersMeant, db: HighwayDb) -> Decided:
    """Deliver every dead letter that is meant once more, each to its group only."""
    return await service.requeue_letters(db, meant)


@router.api_route("/dead-letters/requeue", methods=["GET", "DELETE"], include_in_schema=False)
async def not_requeued() -> None:
    """Say that requeueing is asked for by POST; or this would be taken for a letter's id."""
    raise HTTPException(405)


@router.delete("/dead-letters", responses=problems(422, 503))
async def drop_letters(meant: Annotated[LettersMeant, Query()], db: HighwayDb) -> Decided:
    """Remove every dead letter that is meant, but those being delivered."""
    return await service.drop_letters(db, meant)


@router.get("/dead-letters/{letter_id}", responses=problems(404, 422, 503))
async def show_letter(letter_id: UUID, db: ReadDb) -> WholeLetter:
    """Give one dead letter, with its event and the traceback."""
    return await service.show_letter(db, letter_id)


@router.post("/dead-letters/{letter_id}/requeue", responses=problems(404, 409, 422, 503))
async def requeue_letter(letter_id: UUID, db: HighwayDb) -> WholeLetter:
    """Deliver one dead letter once more, to its group only."""
    return await service.requeue_letter(db, letter_id)


@router.delete("/dead-letters/{letter_id}", responses=problems(404, 409, 422, 503))
async def drop_letter(letter_id: UUID, db: HighwayDb) -> WholeLetter:
    """Remove one dead letter and give it as it was."""
    return await service.drop_letter(db, letter_id)


@router.get("/groups", responses=problems(503))
async def list_groups(services: ServicesDep, db: ReadDb) -> list[GroupView]:
    """Measure every consumer group: how far, how far behind, how many dead letters."""
    return await service.list_groups(services, db)


@router.get("/groups/{name}", responses=problems(404, 422, 503))
async def show_group(name: Name, services: ServicesDep, db: ReadDb) -> GroupView:
    """Measure one consumer group."""
    return (await service.list_groups(services, db, name))[0]


@router.delete("/groups/{name}", responses=problems(404, 409, 422, 503))
async def forget_group(name: Name, services: ServicesDep, db: HighwayDb) -> GroupView:
    """Remove a group that nobody runs any more; its dead letters stay."""
    return await service.forget_group(services, db, name)


@router.get("/projections", responses=problems(503))
async def list_projections(db: ReadDb) -> list[ProjectionView]:
    """Measure every projection: its state, the position that it has reached, how far behind it is."""
    return await service.list_projections(db)


@router.get("/projections/{name}", responses=problems(404, 422, 503))
async def show_projection(name: Name, db: ReadDb) -> ProjectionView:
    """Measure one projection."""
    return (await service.list_projections(db, name))[0]


@router.post("/projections/{name}/pause", responses=problems(404, 409, 422, 503))
async def pause_projection(name: Name, db: HighwayDb) -> ProjectionView:
    """Stop feeding a projection after the batch under way."""
    return await service.change_projection(db, name, projections.pause, "projection.paused")


@router.post("/projections/{name}/resume", responses=problems(404, 409, 422, 503))
async def resume_projection(name: Name, db: HighwayDb) -> ProjectionView:
    """Go on where a projection was paused, or has failed."""
    return await service.change_projection(db, name, projections.resume, "projection.resumed")


@router.post("/projections/{name}/rebuild", responses=problems(404, 409, 422, 503))
async def rebuild_projection(name: Name, db: HighwayDb) -> ProjectionView:
    """Build a projection anew from the beginning, beside what is there, which it then replaces."""
    return await service.change_projection(db, name, projections.rebuild, "projection.rebuilding")
