"""What the scratch routes are given."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import Depends
from sqlalchemy.ext.asyncio import AsyncSession

from cos.backend.deps import ServicesDep, transaction


async def get_scratch_db(services: ServicesDep) -> AsyncIterator[AsyncSession]:
    """Give the request's session; its transaction is committed before the answer is sent, rolled back on an error."""
    async with transaction(services) as session:
        yield session


ScratchDb = Annotated[AsyncSession, Depends(get_scratch_db, scope="function")]
