"""What the events routes are given."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import Depends
from sqlalchemy.ext.asyncio import AsyncSession

from cos.backend.deps import ServicesDep, transaction


async def get_events_db(services: ServicesDep) -> AsyncIterator[AsyncSession]:
    """Give a session for reading the log."""
    async with transaction(services) as session:  # an error thrown in here ends it at once
        yield session


EventsDb = Annotated[AsyncSession, Depends(get_events_db, scope="function")]
