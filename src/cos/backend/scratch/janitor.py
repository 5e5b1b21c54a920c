"""The janitor of the scratch notes: deletes those whose time is up, and counts them when asked to."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from cos.backend.scratch import service

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

    from cos.config import Settings

_log = structlog.get_logger("cos.scratch")


class Janitor:
    """A background part (see `cos.common.looper`)."""

    def __init__(self, *, sessions: async_sessionmaker[AsyncSession], settings: Settings) -> None:
        """Take what is needed.

        Args:
            sessions: makes a session.
            settings: whether, how often and how many at a time.
        """
        self._sessions = sessions
        self._settings = settings
        self._asked: set[str] = set()
        self.deleted = 0

    def ask(self, what: str) -> None:
        """Have something done at the next turn, whatever the settings say of the regular one.

        Args:
            what: `cleanup` or `stats`.
        """
        self._asked.add(what)

    async def turn(self) -> float:
        """Clean up a batch, and do what was asked for; gives 0 while there is more to delete."""
        asked, self._asked = self._asked, set()
        if "stats" in asked:
            async with self._sessions() as db, db.begin():
                counted = await service.stats(db, self._settings)
            _log.info(
                "scratch_stats",
                **counted.model_dump(include={"total_notes", "active_notes", "expired_notes"}),
            )
        if not self._settings.scratch_cleanup:
            return self._settings.scratch_cleanup_seconds
        size = self._settings.scratch_cleanup_batch
        async with self._sessions() as db, db.begin():
            gone = await service.delete_batch(db, size)
        self.deleted += gone
        if gone:
            _log.info("scratch_cleaned", deleted=gone)
        return 0 if gone == size else self._settings.scratch_cleanup_seconds
