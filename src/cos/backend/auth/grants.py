"""Whose secret it is and what it allows: looked up in Postgres, remembered for two seconds, forgotten when revoked.

A token is *living* until it is revoked or has expired; a session until it is signed out, has expired, or its token
is no longer living. Postgres is the authority. What is remembered here is at most `FRESH_SECONDS` old, so a token
that another process revoked is refused after that time at the latest; one revoked through this process at once.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import delete, func, select, update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from cos.backend.auth import secret
from cos.backend.auth.scopes import Scope
from cos.backend.auth.tables import session as sessions_table
from cos.backend.auth.tables import token as tokens
from cos.common import clock
from cos.common import db as db_errors

FRESH_SECONDS = 2.0
MOST_REMEMBERED = 2048
FLUSH_SECONDS = 30.0
CLOSE_SECONDS = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """What a request may do, and who asks.

    Attributes:
        scope: what it may do.
        token_id: of the token behind it; None for this machine, which needs none.
        name: of the token, for people.
        session_id: of the session of the page; None without one.
        csrf: what the session's forms must carry; None without a session.
    """

    scope: Scope
    token_id: str | None = None
    name: str | None = None
    session_id: str | None = None
    csrf: str | None = None


#: Whoever is on this machine, where no token is asked for.
THIS_MACHINE = Grant(scope=Scope.ADMIN)
#: Nobody known; enough for what is open.
NOBODY = Grant(scope=Scope.OPEN)


@dataclass(frozen=True, slots=True)
class _Known:
    """What Postgres said of an id."""

    hash: bytes
    grant: Grant
    ends_at: datetime | None


@dataclass(frozen=True, slots=True)
class _Remembered:
    known: _Known | None
    until_seconds: float


class Grants:
    """Finds the grant behind a secret; a background part that writes down when tokens were last used."""

    def __init__(self, *, sessions: async_sessionmaker[AsyncSession]) -> None:
        """Take what opens a database session; nothing connects yet."""
        self._sessions = sessions
        self._remembered: dict[str, _Remembered] = {}
        self._asking: dict[str, asyncio.Task[_Known | None]] = {}
        self._used: dict[str, datetime] = {}
        self._forgotten = 0

    async def of_token(self, text: str) -> Grant | None:
        """Give what a token allows; None when it is none, is another's, has expired or was revoked.

        Raises:
            SQLAlchemyError, OSError: Postgres cannot be asked.
        """
        number = secret.token_id(text)
        known = None if number is None else await self._find(f"token {number}")
        return None if known is None else self._checked(known, text)

    async def of_session(self, text: str) -> Grant | None:
        """Give what a session's cookie allows; None when it opens nothing. Raises as `of_token`."""
        number = secret.session_id(text)
        known = None if number is None else await self._find(f"session {number}")
        grant = None if known is None else self._checked(known, text)
        if grant is None:
            return None
        return Grant(
            scope=grant.scope,
            token_id=grant.token_id,
            name=grant.name,
            session_id=number,
            csrf=secret.csrf_of(text),
        )

    def is_remembered(self, text: str) -> bool:
        """Say whether a secret can be judged without asking Postgres."""
        number = secret.token_id(text)
        key = f"session {secret.session_id(text)}" if number is None else f"token {number}"
        found = self._remembered.get(key)
        return found is not None and found.known is not None and clock.monotonic() < found.until_seconds

    def forget(self) -> None:
        """Ask Postgres anew for every secret; called after a token or a session was ended."""
        self._forgotten += 1
        self._remembered.clear()
        self._asking.clear()

    async def turn(self) -> float:
        """Write down when tokens were last used, and remove sessions that have expired."""
        await self.flush()
        return FLUSH_SECONDS

    async def close(self) -> None:
        """End what is being asked, and write down what was used last; harmless when Postgres is away."""
        for asking in list(self._asking.values()):
            asking.cancel()
        if self._used:
            with suppress(SQLAlchemyError, *db_errors.LOST):
                async with asyncio.timeout(CLOSE_SECONDS):
                    await self.flush()

    async def flush(self) -> None:
        """Write down when tokens were last used; kept for the next time when that fails."""
        used, self._used = self._used, {}
        try:
            async with self._sessions() as db, db.begin():
                for number in sorted(used):  # in one order, so that two processes do not wait for each other
                    last = func.greatest(func.coalesce(tokens.c.last_used_at, used[number]), used[number])
                    await db.execute(update(tokens).where(tokens.c.id == number).values(last_used_at=last))
                await db.execute(delete(sessions_table).where(sessions_table.c.expires_at < clock.now()))
        except BaseException:
            self._used = used | self._used
            raise

    def _checked(self, known: _Known, text: str) -> Grant | None:
        if not secret.is_secret(text, known.hash):
            return None
        now = clock.now()
        if known.ends_at is not None and known.ends_at <= now:
            return None
        if known.grant.token_id is not None:
            self._used[known.grant.token_id] = now
        return known.grant

    async def _find(self, key: str) -> _Known | None:
        found = self._remembered.get(key)
        if found is not None and clock.monotonic() < found.until_seconds:
            return found.known
        asking = self._asking.get(key)
        if asking is None:
            asking = self._asking[key] = asyncio.create_task(self._ask(key), name="grants:ask")
            asking.add_done_callback(lambda done: self._answered(key, done))
        return await asyncio.shield(asking)

    def _answered(self, key: str, done: asyncio.Task[_Known | None]) -> None:
        if self._asking.get(key) is done:
            del self._asking[key]
        if not done.cancelled():
            done.exception()  # told to who asked; nobody may have stayed to hear it

    async def _ask(self, key: str) -> _Known | None:
        before = self._forgotten
        kind, number = key.split(" ")
        async with self._sessions() as db:
            row = (await db.execute(_statement(kind, number))).one_or_none()
        known = None if row is None else _known(row)
        if before == self._forgotten:  # else what was read may be older than what was revoked meanwhile
            if len(self._remembered) >= MOST_REMEMBERED:
                del self._remembered[next(iter(self._remembered))]
            self._remembered.pop(key, None)
            self._remembered[key] = _Remembered(known, clock.monotonic() + FRESH_SECONDS)
        return known


def _statement(kind: str, number: str) -> Any:
    """One row by primary key; for a session, joined with its token, so that it ends when that ends."""
    wanted = (tokens.c.id, tokens.c.name, tokens.c.scope, tokens.c.expires_at.label("token_ends_at"))
    if kind == "token":
        one = select(*wanted, tokens.c.hash, tokens.c.expires_at.label("ends_at"))
        return one.where(tokens.c.id == number, tokens.c.revoked_at.is_(None))
    both = select(*wanted, sessions_table.c.hash, sessions_table.c.expires_at.label("ends_at"))
    return both.join(sessions_table, sessions_table.c.token_id == tokens.c.id).where(
        sessions_table.c.id == number, tokens.c.revoked_at.is_(None)
    )


def _known(row: Any) -> _Known:
    ends = [time for time in (row.ends_at, row.token_ends_at) if time is not None]
    grant = Grant(scope=Scope.of(row.scope), token_id=row.id, name=row.name)
    return _Known(bytes(row.hash), grant, min(ends, default=None))
