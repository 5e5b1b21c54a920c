"""What the webhooks' routes are given."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import Depends
from sqlalchemy.ext.asyncio import AsyncSession

from cos.backend.deps import Services, ServicesDep, transaction
from cos.common.after_commit import after_commit


@asynccontextmanager
async def changing(services: Services) -> AsyncIterator[AsyncSession]:
    """Give a session whose one transaction changes webhooks; who delivers is told after the commit."""
    async with transaction(services) as session:
        after_commit(session.sync_session, services.webhooks.changed)
        yield session


async def get_changing_db(services: ServicesDep) -> AsyncIterator[AsyncSession]:
    """Give such a session to a request."""
    async with changing(services) as session:
        yield session


ChangingDb = Annotated[AsyncSession, Depends(get_changing_db, scope="function")]
