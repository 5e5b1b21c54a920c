"""What can be done with tokens and sessions, without HTTP; each change is an event, none holds a secret."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import delete, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from cos.backend.access.schemas import TokenIn, TokenMade, TokenView
from cos.backend.auth import secret
from cos.backend.auth.tables import session as sessions
from cos.backend.auth.tables import token as tokens
from cos.backend.cc.logging import log_l1
from cos.common import clock
from cos.common.after_commit import after_commit
from cos.errors import Conflict, NotFound

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

    from cos.backend.auth.grants import Grant
    from cos.common.session import Readable

#: More than anybody keeps; a list has an end.
MOST_LISTED = 1000
#: Who did it, where no token did.
BY_HAND = "cos"

Forget = Callable[[], None]


@dataclass(frozen=True, slots=True)
class Session:
    """A new session: what its cookie holds, and how long it lasts."""

    id: str
    cookie: str
    expires_at: datetime


async def create_token(db: AsyncSession, given: TokenIn, *, by: str = BY_HAND) -> TokenMade:
    """Make a token; raises Conflict when a living one has the name.

    One of that name that has expired is revoked, so that its name is free and it stays dead whatever the clock does.
    """
    made = secret.new_token()
    now = clock.now()
    await _end_expired(db, given.name, now, by=by)
    row = {
        "id": made.id,
        "name": given.name,
        "scope": given.scope,
        "hash": made.hash,
        "created_at": now,
        "created_by": by,
        "expires_at": None if given.expires_in_days is None else now + timedelta(days=given.expires_in_days),
    }
    try:
        async with db.begin_nested():
            await db.execute(insert(tokens).values(row))
    except IntegrityError:
        raise Conflict(
            f"A living token is named {given.name!a}; choose another name, or revoke that one first."
        ) from None
    view = _view_of(row, now)
    await _tell(db, "token.created", view, by=by)
    return TokenMade(**view.model_dump(), token=made.text)


async def list_tokens(db: Readable, *, ended: bool = False) -> list[TokenView]:
    """Give the tokens, newest first; those that have ended only when they are wanted."""
    now = clock.now()
    wanted = select(tokens).order_by(tokens.c.created_at.desc(), tokens.c.id).limit(MOST_LISTED)
    if not ended:
        wanted = wanted.where(
            tokens.c.revoked_at.is_(None), or_(tokens.c.expires_at.is_(None), tokens.c.expires_at > now)
        )
    return [_view_of(row._mapping, now) for row in await db.execute(wanted)]  # noqa: SLF001  (SQLAlchemy's public name)


async def get_token(db: Readable, id_or_name: str) -> TokenView:
    """Give one token, by its id, or by its name if it is not revoked; raises NotFound."""
    named = (tokens.c.name == id_or_name) & tokens.c.revoked_at.is_(None)
    wanted = select(tokens).where((tokens.c.id == id_or_name) | named)
    # One token's name may be another's id: the id is meant then.
    rows = sorted((await db.execute(wanted)).all(), key=lambda row: row.id != id_or_name)
    if not rows:
        raise NotFound(f"There is no token {ascii(id_or_name)[:80]}.")
    return _view_of(rows[0]._mapping, clock.now())  # noqa: SLF001  (as above)


async def revoke_token(
    db: AsyncSession, id_or_name: str, *, forget: Forget | None = None, by: str = BY_HAND
) -> TokenView:
    """End a token and its sessions, once and for all; one that was revoked before stays as it was.

    Args:
        db: whose transaction it joins.
        id_or_name: which.
        forget: called after the commit, so that this process refuses it at once.
        by: who does it.

    Raises:
        NotFound: there is none.
    """
    before = await get_token(db, id_or_name)
    now = clock.now()
    changed = await db.execute(
        update(tokens)
        .where(tokens.c.id == before.id, tokens.c.revoked_at.is_(None))
        .values(revoked_at=now)
        .returning(tokens)
    )
    row = changed.one_or_none()
    if row is None:
        return before
    await db.execute(delete(sessions).where(sessions.c.token_id == before.id))
    view = _view_of(row._mapping, now)  # noqa: SLF001  (as above)
    await _tell(db, "token.revoked", view, by=by)
    if forget is not None:
        after_commit(db.sync_session, forget)
    return view


async def open_session(
    db: AsyncSession, grant: Grant, *, seconds: int, instead_of: str | None = None
) -> Session:
    """Open a session of the page for who holds a token; always a new one, so that nobody can choose its id.

    Args:
        db: whose transaction it joins.
        grant: of the token.
        seconds: how long it lasts.
        instead_of: id of a session that it replaces.
    """
    made = secret.new_session()
    now = clock.now()
    ends = now + timedelta(seconds=seconds)
    if instead_of is not None:
        await db.execute(delete(sessions).where(sessions.c.id == instead_of))
    row = {
        "id": made.id,
        "token_id": grant.token_id,
        "hash": made.hash,
        "created_at": now,
        "expires_at": ends,
    }
    await db.execute(insert(sessions).values(row))
    await log_l1(
        db,
        "session.opened",
        {"session": made.id, "token": grant.token_id, "name": grant.name, "expires_at": ends.isoformat()},
        subject=grant.token_id,
    )
    return Session(made.id, made.text, ends)


async def close_session(db: AsyncSession, grant: Grant, *, forget: Forget) -> None:
    """End the session of a grant; nothing happens when it has none."""
    if grant.session_id is None:
        return
    await db.execute(delete(sessions).where(sessions.c.id == grant.session_id))
    told = {"session": grant.session_id, "token": grant.token_id, "name": grant.name}
    await log_l1(db, "session.closed", told, subject=grant.token_id)
    after_commit(db.sync_session, forget)


async def any_administrator(db: AsyncSession) -> bool:
    """Say whether a living token administers."""
    living = tokens.c.revoked_at.is_(None) & or_(
        tokens.c.expires_at.is_(None), tokens.c.expires_at > clock.now()
    )
    found = await db.execute(select(tokens.c.id).where(tokens.c.scope == "admin", living).limit(1))
    return found.first() is not None


async def _end_expired(db: AsyncSession, name: str, now: datetime, *, by: str) -> None:
    expired = (
        update(tokens)
        .where(tokens.c.name == name, tokens.c.revoked_at.is_(None), tokens.c.expires_at <= now)
        .values(revoked_at=now)
        .returning(tokens)
    )
    for row in (await db.execute(expired)).all():
        await db.execute(delete(sessions).where(sessions.c.token_id == row.id))
        await _tell(db, "token.revoked", _view_of(row._mapping, now), by=by)  # noqa: SLF001  (as above)


def _view_of(row: Any, now: datetime) -> TokenView:
    revoked, ends = row.get("revoked_at"), row.get("expires_at")
    state = "revoked" if revoked else "expired" if ends is not None and ends <= now else "living"
    shown = {name: row.get(name) for name in TokenView.model_fields if name != "state"}
    return TokenView.model_validate({**shown, "state": state})


async def _tell(db: AsyncSession, kind: str, view: TokenView, *, by: str) -> None:
    told = view.model_dump(mode="json", include={"id", "name", "scope", "expires_at"})
    await log_l1(db, kind, {**told, "by": by}, subject=view.id)
