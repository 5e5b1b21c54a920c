"""What the webhooks' routes are given."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import Depends
from sqlalchemy.ext.asyncio import AsyncSession

from cos.backend.deps import ServicesDep, transaction
from cos.common.after_commit import after_commit


async def get_changing_db(services: ServicesDep) -> AsyncIterator[AsyncSession]:
    """Give the session of the request's transaction; who delivers is told after the commit."""
    async with transaction(services) as session:
        after_commit(session.sync_session, services.webhooks.changed)
        yield session


ChangingDb = Annotated[AsyncSession, Depends(get_changing_db, scope="function")]
