"""A whole COS inside one test: its own Postgres and Redis, all parts running, an HTTP client of its API."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx
from sqlalchemy import text

from cos.backend.app import create_app, with_edge
from cos.config import load_settings
from cos.errors import BadSetting
from cos.infra.folder import DataFolder
from cos.runtime.core import Core
from cos.runtime.modules import given
from cos.runtime.servers import Servers

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable
    from pathlib import Path

    from cos.backend.module import Module


@dataclass(frozen=True, kw_only=True)
class Trial:
    """What a test uses.

    Attributes:
        core: the parts that run.
        client: of the API, in this process.
    """

    core: Core
    client: httpx.AsyncClient

    async def execute(self, statement: str) -> None:
        """Execute one statement of SQL, and commit."""
        async with self.core.sessions() as db, db.begin():
            await db.execute(text(statement))


@asynccontextmanager
async def trial(folder: Path, *, modules: Iterable[Module] = (), **settings: Any) -> AsyncIterator[Trial]:
    """Run a COS with these modules, installed or not; data is not safe from a power cut, which makes it fast.

    Args:
        folder: for its data; empty, or of an earlier trial.
        modules: that run; entry points are not looked at.
        **settings: of COS, by field name.

    Raises:
        BadSetting: a module cannot run; says why.
    """
    chosen = load_settings(**{"data_dir": folder, "fsync": False, "port": 0, **settings})
    async with Servers(
        settings=chosen, folder=DataFolder.open(folder), progress=lambda _line: None
    ) as servers:
        found = given(modules, chosen)
        await found.migrate(servers.postgres.url)
        for one in found.installed:
            if one.trouble is not None:
                raise BadSetting(one.trouble)
        async with Core(
            settings=chosen, database_url=servers.postgres.url, redis_url=servers.redis.url, modules=found
        ) as core:
            transport = httpx.ASGITransport(
                app=with_edge(create_app(core.services())), raise_app_exceptions=False
            )
            async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000") as client:
                yield Trial(core=core, client=client)
