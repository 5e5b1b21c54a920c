"""What the highway's routes do; each decision of a person is itself an event."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from cos.backend.cc.logging import log_l1
from cos.backend.highway.schemas import (
    Decided,
    GroupView,
    Letter,
    LetterFilter,
    Letters,
    LettersMeant,
    LettersQuery,
    ProjectionView,
    WholeLetter,
)
from cos.errors import BadInput, Conflict
from cos.memory import groups, letters, projections
from cos.memory.position import Position

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from uuid import UUID

    from sqlalchemy.ext.asyncio import AsyncSession

    from cos.backend.deps import Services
    from cos.common.session import Readable


async def list_letters(db: Readable, wanted: LettersQuery) -> Letters:
    """Give a page of dead letters, newest first."""
    rows = await letters.page(db, _filter(wanted), before=wanted.before, limit=wanted.limit + 1)
    shown = [Letter.model_validate(_members(row)) for row in rows[: wanted.limit]]
    return Letters(letters=shown, next=shown[-1].id if len(rows) > wanted.limit else None)


async def show_letter(db: Readable, letter_id: UUID) -> WholeLetter:
    """Give one dead letter with its event and traceback."""
    return _whole(await letters.get(db, letter_id))


async def requeue_letter(db: AsyncSession, letter_id: UUID) -> WholeLetter:
    """Ask for one more delivery, to its group only."""
    made = _whole(await letters.requeue(db, letter_id))
    await log_l1(db, "dead_letter.requeued", _told(made), subject=str(letter_id))
    return made


async def requeue_letters(db: AsyncSession, meant: LettersMeant) -> Decided:
    """Ask for one more delivery of each dead letter that is meant."""
    count = await letters.requeue_all(db, _meant(meant))
    if count:
        await log_l1(db, "dead_letters.requeued", {"count": count, "filter": _shown(meant)})
    return Decided(count=count)


async def drop_letter(db: AsyncSession, letter_id: UUID) -> WholeLetter:
    """Remove a dead letter for ever; what it was stands in the event."""
    was = _whole(await letters.drop(db, letter_id))
    await log_l1(db, "dead_letter.dropped", _told(was), subject=str(letter_id))
    return was


async def drop_letters(db: AsyncSession, meant: LettersMeant) -> Decided:
    """Remove every dead letter that is meant."""
    count = await letters.drop_all(db, _meant(meant))
    if count:
        await log_l1(db, "dead_letters.dropped", {"count": count, "filter": _shown(meant)})
    return Decided(count=count)


async def list_groups(services: Services, db: Readable, name: str | None = None) -> list[GroupView]:
    """Measure the groups, or one."""
    found = await groups.measure(db, services.redis, services.streams, name)
    return [GroupView.model_validate(one) for one in found]


async def forget_group(services: Services, db: AsyncSession, name: str) -> GroupView:
    """Remove a group that nobody runs any more, so that it holds back nothing; its dead letters stay."""
    [was] = await list_groups(services, db, name)
    if was.consumers is None:
        raise Conflict(f"Whether the group {name} is run cannot be seen while Redis is away; try again then.")
    if was.consumers:
        raise Conflict(f"The group {name} has {was.consumers} consumers; stop what runs it first.")
    await groups.forget(db, name)
    number = await services.streams.generation() or 0
    await groups.forget_in_redis(
        services.redis, services.streams, name, [one.module for one in was.modules], number
    )
    await log_l1(db, "group.forgotten", was.model_dump(mode="json"), subject=name)
    return was


async def list_projections(db: Readable, name: str | None = None) -> list[ProjectionView]:
    """Measure the projections, or one."""
    return [ProjectionView.model_validate(one) for one in await projections.measure(db, name)]


async def change_projection(
    db: AsyncSession, name: str, change: Callable[[AsyncSession, str], Awaitable[None]], event: str
) -> ProjectionView:
    """Pause, resume or rebuild a projection."""
    await change(db, name)
    [made] = await list_projections(db, name)
    await log_l1(db, event, made.model_dump(mode="json"), subject=name)
    return made


def _members(row: Any) -> dict[str, Any]:
    members: dict[str, Any] = dict(row._mapping)  # noqa: SLF001  (SQLAlchemy's public name for it)
    members["position"] = str(Position(int(row.xact), row.seq))
    return members


def _whole(row: Any) -> WholeLetter:
    return WholeLetter.model_validate(_members(row) | {"event": msgspec.json.decode(row.event)})


def _told(letter: WholeLetter) -> dict[str, Any]:
    """Give what an event tells of a letter; the event that it holds is in the log already."""
    return letter.model_dump(mode="json", exclude={"event", "traceback"})


def _filter(wanted: LetterFilter) -> letters.Filter:
    return letters.Filter(**wanted.model_dump(include=set(LetterFilter.model_fields)))


def _meant(meant: LettersMeant) -> letters.Filter:
    if not meant.all and not _shown(meant):
        raise BadInput('No filter is given; to mean every dead letter, say "all": true.')
    return _filter(meant)


def _shown(meant: LettersMeant) -> dict[str, Any]:
    return meant.model_dump(mode="json", exclude_none=True, exclude={"all"})
