"""Tokens from the command line, and the promise that COS is open to nobody without one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import structlog
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from cos.backend.access import service
from cos.backend.auth.origin import is_loopback
from cos.backend.auth.policy import Policy
from cos.common import clock, db
from cos.errors import NoToken
from cos.infra.cluster import cluster_exists
from cos.infra.folder import DataFolder
from cos.infra.postgres import EmbeddedPostgres
from cos.migrations.apply import migrate
from cos.runtime.backup import database_of

if TYPE_CHECKING:
    from cos.config import Settings

_log = structlog.get_logger("cos.access")


async def check_open(settings: Settings, sessions: async_sessionmaker[AsyncSession]) -> None:
    """Hold that COS asks for a token wherever others can reach it, and that there is one.

    Raises:
        NoToken: there is none; says how one is made.
        BadSetting: a setting about access cannot be used.
    """
    policy = Policy.of(settings)
    if not policy.asks_for_tokens:
        return
    async with sessions() as session:
        there = await service.any_administrator(session)
    if not there:
        where = f"--data-dir {settings.data_dir} " if settings.database_url is None else ""
        raise NoToken(
            f"COS does not start on {settings.host} without a token that administers it; "
            f"make one first: cos token create {where}--scope admin NAME"
        )
    if not is_loopback(settings.host) and not settings.trusted_proxies:
        _log.warning("tokens_travel_unencrypted", host=settings.host, advice="put a proxy with TLS in front")


@asynccontextmanager
async def token_database(settings: Settings) -> AsyncIterator[AsyncSession]:
    """Give a transaction on the database of a COS, running or not; one that is not there yet is made.

    It is committed at the end. Whoever may use the data folder, or knows the database's URL, may do this: no token is
    asked for.
    """
    async with _ready(settings) as url:
        engine = db.create_engine(url, pool_size=1)
        try:
            sessions = async_sessionmaker(engine, class_=AsyncSession, expire_on_commit=False)
            async with sessions() as session, session.begin():
                yield session
        finally:
            await engine.dispose()


@asynccontextmanager
async def _ready(settings: Settings) -> AsyncIterator[str]:
    folder = DataFolder.open(settings.data_dir)
    if settings.database_url is not None or cluster_exists(folder.postgres):
        async with database_of(settings) as url:
            await migrate(url)
            yield url
        return
    # The first token may be made before COS has ever run: it can then begin with an address that asks for one.
    with folder.lock({"since": clock.now().isoformat()}):
        postgres = EmbeddedPostgres(folder=folder, fsync=settings.fsync)
        try:
            await postgres.start()
            await migrate(postgres.url)
            yield postgres.url
        finally:
            await postgres.stop()
