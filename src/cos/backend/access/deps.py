"""What the routes of tokens are given."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import Depends
from sqlalchemy.ext.asyncio import AsyncSession

from cos.backend.deps import ServicesDep, transaction


async def get_access_db(services: ServicesDep) -> AsyncIterator[AsyncSession]:
    """Give the request's session; its transaction is committed before the answer is sent, rolled back on an error."""
    async with transaction(services) as session:
        yield session


AccessDb = Annotated[AsyncSession, Depends(get_access_db, scope="function")]
