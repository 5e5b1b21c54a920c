"""Reloads of the settings as events: what changed, who asked, and what was refused; never a secret value."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy.exc import SQLAlchemyError

from cos.common import db
from cos.errors import CosError
from cos.memory import l1_log
from cos.memory.event import NewEvent, new_event

if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Callable

    from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

    from cos.runtime.reload import Reload

RELOADED: Final = "config.reloaded"
REFUSED: Final = "config.reload_refused"
IDLE_SECONDS: Final = 3600.0
CLOSE_SECONDS: Final = 1.0


class Reloads:
    """Records reloads, in order, each once; a background part.

    What cannot be written while Postgres is away waits where it is, for a later turn.
    """

    def __init__(
        self,
        *,
        waiting: deque[Reload],
        sessions: async_sessionmaker[AsyncSession],
        ring: Callable[[], object],
    ) -> None:
        """Take what is needed.

        Args:
            waiting: reloads that are not recorded yet; bounded by who fills it.
            sessions: makes a session.
            ring: says that something was committed.
        """
        self._waiting = waiting
        self._sessions = sessions
        self._ring = ring
        self._writing: tuple[Reload, NewEvent] | None = None

    async def turn(self) -> float:
        """Record what waits; gives how long the next turn may be away when nobody wakes it."""
        while self._waiting:
            reload = self._waiting[0]
            if self._writing is None or self._writing[0] is not reload:
                # Its id is made once: written again after the answer to a commit was lost, it is there once.
                self._writing = (reload, event_of(reload))
            async with self._sessions() as session, session.begin():
                await l1_log.append(session, self._writing[1])
            if self._waiting and self._waiting[0] is reload:  # else it has made room for newer ones meanwhile
                self._waiting.popleft()
            self._ring()
        return IDLE_SECONDS

    async def close(self) -> None:
        """Record what came last; harmless when Postgres is away."""
        with suppress(CosError, SQLAlchemyError, *db.LOST):
            async with asyncio.timeout(CLOSE_SECONDS):
                await self.turn()


def event_of(reload: Reload) -> NewEvent:
    """Give a reload as an event."""
    if reload.error is not None:
        data: dict[str, Any] = {"by": reload.by, "error": reload.error}
        return new_event(type=REFUSED, module="cc", data=data, level="error", time=reload.at)
    data = {"by": reload.by, "changed": reload.changed, "need_a_restart": reload.need_a_restart}
    return new_event(type=RELOADED, module="cc", data=data, time=reload.at)
