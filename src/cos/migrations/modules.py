"""Bring the tables of a module that a package adds to its newest revision, in the schema that is its own."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import text

from cos.common import db
from cos.errors import BadSetting, NewerDatabase
from cos.migrations.apply import locked

if TYPE_CHECKING:
    import asyncpg
    from sqlalchemy import Connection

_REVISION: Final = re.compile(r"^revision\b[^=\n]*=\s*[\"'](\w+)[\"']", re.MULTILINE)
_BEFORE: Final = re.compile(r"^down_revision\b[^=\n]*=\s*[\"'](\w+)[\"']", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Revisions:
    """What a folder of revisions holds; read without alembic, whose loading takes longer than a warm start.

    Attributes:
        known: the revisions.
        head: the newest one.
    """

    known: frozenset[str]
    head: str


def read_revisions(folder: Path, name: str) -> Revisions:
    """Read `versions/*.py` of a folder.

    Raises:
        BadSetting: there is none, or more than one is the newest.
    """
    texts = [file.read_text() for file in sorted((folder / "versions").glob("*.py"))]
    known = [found[1] for found in map(_REVISION.search, texts) if found]
    heads = sorted(set(known) - {found[1] for found in map(_BEFORE.search, texts) if found})
    if len(heads) != 1 or len(set(known)) != len(known):
        said = f"{len(heads)} newest revisions ({', '.join(heads)})" if known else "no revisions"
        raise BadSetting(f"The folder {folder / 'versions'} of the module {name} holds {said}; it needs one.")
    return Revisions(known=frozenset(known), head=heads[0])


async def migrate_module(url: str, *, name: str, schema: str, folder: Path, upgrade: str) -> bool:
    """Apply what is missing, one process at a time; the table of its revisions is in its schema too.

    Args:
        url: of the database, which is up to date itself.
        name: of the module.
        schema: that is its own; made where it is missing.
        folder: with `versions`.
        upgrade: the command that installs a newer package, for the sentence of the error.

    Returns:
        Whether anything was applied.

    Raises:
        NewerDatabase: the tables are at a revision that the package does not know.
        BadSetting: see `read_revisions`.
        PostgresUnreachable: it does not answer, or another migration does not end.
        Exception: whatever a revision raises; those before it are applied.
    """
    revisions = read_revisions(folder, name)

    async def is_done(connection: asyncpg.Connection[Any]) -> bool:
        current = await _current(connection, schema)
        if current is not None and current not in revisions.known:
            raise NewerDatabase(
                f"The tables of the module {name} are at revision {current}, which the installed package does not "
                f"know; they were written by a newer one: install that ({upgrade})."
            )
        return current == revisions.head

    async with locked(url, is_done) as done:
        if not done:
            engine = db.create_engine(url, pool_size=2)
            try:
                async with engine.connect() as connection:
                    await connection.run_sync(_apply(schema, folder))
                    await connection.commit()
            finally:
                await engine.dispose()
        return not done


async def _current(connection: asyncpg.Connection[Any], schema: str) -> str | None:
    table = f'"{schema}".alembic_version'
    if await connection.fetchval("SELECT to_regclass($1)", table) is None:
        return None
    query = "SELECT version_num FROM {}".format(table)  # noqa: S608, UP032
    current: str | None = await connection.fetchval(query)  # house: sql (a checked name)
    return current


def _apply(schema: str, folder: Path) -> Callable[[Connection], None]:
    def run(connection: Connection) -> None:
        from alembic import command
        from alembic.config import Config

        connection.execute(text(f'CREATE SCHEMA IF NOT EXISTS "{schema}"'))  # house: sql (a checked name)
        connection.commit()
        config = Config()
        config.set_main_option("script_location", _literal(Path(__file__).parent))
        config.set_main_option("version_locations", _literal(folder / "versions"))
        config.set_main_option("path_separator", "newline")
        config.attributes |= {"connection": connection, "schema": schema}
        command.upgrade(config, "head")

    return run


def _literal(path: Path) -> str:
    return str(path).replace("%", "%%")
