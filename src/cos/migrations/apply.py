"""Bring a database to the revision that this COS was written for, one process at a time."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncpg

from cos.common import db
from cos.errors import NewerDatabase, PostgresUnreachable, ServerTooOld

if TYPE_CHECKING:
    from sqlalchemy import Connection

#: The newest revision in `versions/`; a test holds that it is.
HEAD = "0005"
REVISIONS = ("0001", "0002", "0003", "0004", "0005")
#: `pg_current_xact_id` and `xid8` came with 13; what COS is tested on is 18.
MIN_POSTGRES = 13

# Taken for the session, so that two COS that start together migrate one after the other.
_LOCK = 0x636F735F6D6967  # "cos_mig"
_LOCK_TIMEOUT_SECONDS = 60


async def migrate(url: str) -> bool:
    """Apply what is missing.

    A database that is up to date costs two short queries; alembic is not even loaded.

    Args:
        url: a `postgresql://` URL.

    Returns:
        Whether anything was applied.

    Raises:
        NewerDatabase: the database knows a revision that this COS does not.
        ServerTooOld: the server is older than COS can use.
        PostgresUnreachable: it does not answer, or another migration does not end.
        WrongPassword: it refused the user or password.
    """

    async def is_done(connection: asyncpg.Connection[Any]) -> bool:
        major = connection.get_server_version().major
        if major < MIN_POSTGRES:
            raise ServerTooOld(
                f"Postgres at {db.where(url)} is version {major}; COS needs {MIN_POSTGRES} or newer."
            )
        return await _current(connection) == HEAD

    async with locked(url, is_done) as done:
        if not done:
            await _upgrade(url)
        return not done


@asynccontextmanager
async def locked(
    url: str, is_done: Callable[[asyncpg.Connection[Any]], Awaitable[bool]]
) -> AsyncIterator[bool]:
    """Keep every other migration of the database away, unless there is nothing to do; gives whether there is not.

    Args:
        url: a `postgresql://` URL.
        is_done: asked first, and again when the lock is ours.

    Raises:
        PostgresUnreachable: it does not answer, or another migration does not end.
    """
    connection = await db.connect(url, name="cos migrate")
    try:
        if await is_done(connection):
            yield True
            return
        try:
            await connection.execute(
                "SELECT pg_advisory_lock($1::bigint)", _LOCK, timeout=_LOCK_TIMEOUT_SECONDS
            )
        except TimeoutError:
            raise PostgresUnreachable(
                f"Another migration of {db.where(url)} has not ended within {_LOCK_TIMEOUT_SECONDS} s; "
                "look for a COS that hangs and stop it."
            ) from None
        yield await is_done(connection)
    finally:
        await connection.close(timeout=5)


async def _current(connection: asyncpg.Connection[Any]) -> str | None:
    if await connection.fetchval("SELECT to_regclass('public.alembic_version')") is None:
        return None
    revision: str | None = await connection.fetchval("SELECT version_num FROM public.alembic_version")
    if revision is not None and revision not in REVISIONS:
        raise NewerDatabase(
            f"The database is at revision {revision}, which this COS does not know; "
            "it was written by a newer COS: install that one (pip install --upgrade cos)."
        )
    return revision


async def _upgrade(url: str) -> None:
    engine = db.create_engine(url, pool_size=2)
    try:
        async with engine.connect() as connection:
            await connection.run_sync(_run)
            await connection.commit()
    finally:
        await engine.dispose()


def _run(connection: Connection) -> None:
    # Loading alembic takes longer than all of a warm start's queries: only who migrates pays for it.
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
