"""What the webhooks' routes are given."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import Depends
from sqlalchemy.ext.asyncio import AsyncSession

from cos.backend.deps import ServicesDep, transaction
from cos.common.after_commit import after_commit


async def get_webhooks_db(services: ServicesDep) -> AsyncIterator[AsyncSession]:
    """Give the request's session; its transaction is committed before the answer is sent, rolled back on an error."""
    async with transaction(services) as session:
        yield session


async def get_changing_db(services: ServicesDep) -> AsyncIterator[AsyncSession]:
    """Give the same for what changes something: who delivers is told after the commit."""
    async with transaction(services) as session:
        after_commit(session.sync_session, services.webhooks.changed)
        yield session


WebhooksDb = Annotated[AsyncSession, Depends(get_webhooks_db, scope="function")]
ChangingDb = Annotated[AsyncSession, Depends(get_changing_db, scope="function")]
