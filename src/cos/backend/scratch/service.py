"""What is done with scratch notes, without HTTP."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import and_, delete, func, select, update
from sqlalchemy.dialects.postgresql import insert as upsert

from cos.backend.cc.logging import log_l1
from cos.backend.scratch.schemas import Cleanup, Note, NoteIn, NotePatch, Stats, TtlSettings
from cos.backend.scratch.tables import note as notes
from cos.common import clock
from cos.errors import BadInput, NotFound

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement
    from sqlalchemy.ext.asyncio import AsyncSession

    from cos.common.session import Readable
    from cos.config import Settings

MODULE = "scratch"
#: A clean-up that is asked for goes on for so many batches; the rest is left to the next.
MAX_BATCHES = 1000


class NoteExists(BadInput):
    """There is a note with this key."""

    status = 400
    slug = "note-exists"


async def create(db: AsyncSession, given: NoteIn, settings: Settings) -> Note:
    """Keep a note; raises NoteExists where a living one has the key. One whose time is up is replaced."""
    now = clock.now()
    ttl = given.ttl_days or settings.scratch_ttl_days
    row = {
        "key": given.key,
        "content": given.content,
        "ttl_days": ttl,
        "created_at": now,
        "expires_at": now + timedelta(days=ttl),
    }
    statement = upsert(notes).values(row)
    statement = statement.on_conflict_do_update(
        index_elements=["key"],
        set_={name: statement.excluded[name] for name in ("content", "ttl_days", "created_at", "expires_at")},
        where=_is_over(now),
    )
    made = (await db.execute(statement.returning(notes))).one_or_none()
    if made is None:
        raise NoteExists(
            f"A note with the key {ascii(given.key)[:80]} is there already; change it with PUT, or delete it first."
        )
    await log_l1(db, "note.created", {"id": made.id, "key": made.key}, module=MODULE, subject=made.key)
    return _note(made)


async def get(db: AsyncSession, *, note_id: int | None = None, key: str | None = None, extend: bool) -> Note:
    """Give one living note, by its id or its key; raises NotFound.

    Args:
        db: the request's session.
        note_id: of the note, or
        key: of the note.
        extend: whether reading gives it its whole time anew.
    """
    now = clock.now()
    wanted = and_(notes.c.id == note_id if note_id is not None else notes.c.key == key, ~_is_over(now))
    if not extend:
        found = (await db.execute(select(notes).where(wanted))).one_or_none()
    else:
        longer = now + func.make_interval(0, 0, 0, notes.c.ttl_days)
        statement = update(notes).where(wanted).values(expires_at=longer).returning(notes)
        found = (await db.execute(statement)).one_or_none()
    if found is None:
        raise _no_note()
    return _note(found)


async def find(
    db: Readable, *, key_prefix: str | None, include_expired: bool, limit: int, offset: int
) -> list[Note]:
    """Give notes in the order of their keys; reads the index of the keys."""
    statement = select(notes).order_by(notes.c.key).limit(limit).offset(offset)
    if key_prefix:
        statement = statement.where(notes.c.key.startswith(key_prefix, autoescape=True))
    if not include_expired:
        statement = statement.where(~_is_over(clock.now()))
    return [_note(row) for row in await db.execute(statement)]


async def change(db: AsyncSession, note_id: int, patch: NotePatch) -> Note:
    """Change what the patch names; raises NotFound."""
    now = clock.now()
    changes: dict[str, Any] = {name: getattr(patch, name) for name in patch.model_fields_set}
    if (ttl := changes.pop("ttl_days", None)) is not None:
        changes |= {"ttl_days": ttl, "expires_at": now + timedelta(days=ttl)}
    if not changes:
        return await get(db, note_id=note_id, extend=False)
    living = and_(notes.c.id == note_id, ~_is_over(now))
    changed = (await db.execute(update(notes).where(living).values(changes).returning(notes))).one_or_none()
    if changed is None:
        raise _no_note()
    await log_l1(
        db, "note.changed", {"id": changed.id, "key": changed.key}, module=MODULE, subject=changed.key
    )
    return _note(changed)


async def remove(db: AsyncSession, note_id: int) -> None:
    """Delete a note; raises NotFound."""
    gone = (await db.execute(delete(notes).where(notes.c.id == note_id).returning(notes.c.key))).one_or_none()
    if gone is None:
        raise _no_note()
    await log_l1(db, "note.deleted", {"id": note_id, "key": gone.key}, module=MODULE, subject=gone.key)


async def stats(db: Readable, settings: Settings) -> Stats:
    """Count the notes now."""
    now = clock.now()
    counted = (
        await db.execute(
            select(func.count().label("all"), func.count().filter(_is_over(now)).label("over")).select_from(
                notes
            )
        )
    ).one()
    return Stats(
        total_notes=counted.all,
        active_notes=counted.all - counted.over,
        expired_notes=counted.over,
        timestamp=now,
        ttl_settings=TtlSettings(
            default_ttl_days=settings.scratch_ttl_days,
            auto_cleanup_enabled=settings.scratch_cleanup,
            cleanup_batch_size=settings.scratch_cleanup_batch,
        ),
    )


async def clean_up(db: AsyncSession, settings: Settings) -> Cleanup:
    """Delete what is over, a batch at a time, in the request's transaction; nothing where the settings forbid it."""
    if not settings.scratch_cleanup:
        return Cleanup(status="disabled", deleted=0)
    deleted = 0
    for _ in range(MAX_BATCHES):
        gone = await delete_batch(db, settings.scratch_cleanup_batch)
        deleted += gone
        if gone < settings.scratch_cleanup_batch:
            break
    return Cleanup(status="completed", deleted=deleted)


async def delete_batch(db: AsyncSession, size: int) -> int:
    """Delete up to `size` notes whose time is up; two who clean at once do not wait for each other."""
    chosen = (
        select(notes.c.id)
        .where(_is_over(clock.now()))
        .order_by(notes.c.expires_at)
        .limit(size)
        .with_for_update(skip_locked=True)
    )
    gone = (await db.execute(delete(notes).where(notes.c.id.in_(chosen)).returning(notes.c.key))).all()
    if gone:
        await log_l1(db, "note.expired", {"keys": [row.key for row in gone]}, module=MODULE)
    return len(gone)


def _is_over(now: Any) -> ColumnElement[bool]:
    return func.coalesce(notes.c.expires_at <= now, False)


def _note(row: Any) -> Note:
    over = row.expires_at is not None and row.expires_at <= clock.now()
    return Note(
        id=row.id,
        key=row.key,
        content=row.content,
        created_at=row.created_at,
        expires_at=row.expires_at,
        is_expired=over,
    )


def _no_note() -> NotFound:
    return NotFound("Note not found")
