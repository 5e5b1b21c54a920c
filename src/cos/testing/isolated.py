"""The database of one test, and the application's engines that have joined it."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import asyncpg

    from cos.testing.database import PostgresDatabase
    from cos.testing.databases import Databases
    from cos.testing.join import Joined


class IsolatedDatabase:
    """What the fixture `cos_database` gives.

    With `commit` it is a clone of the template that no other test sees: commits are real. With `rollback` it is the
    session's main database, and every engine that joins works inside a transaction that is rolled back.
    """

    def __init__(self, *, databases: Databases, isolation: Literal["commit", "rollback"]) -> None:
        """Take the database.

        Args:
            databases: of the session.
            isolation: which kind.

        Raises:
            CosError: it could not be made.
        """
        self._databases = databases
        self._exits = contextlib.ExitStack()
        self.isolation = isolation
        self.urls: PostgresDatabase = databases.take() if isolation == "commit" else databases.make_main()

    @property
    def url(self) -> str:
        """For libpq, psycopg, psycopg2 and asyncpg."""
        return self.urls.url

    @property
    def sqlalchemy(self) -> str:
        """For `sqlalchemy.create_engine` with psycopg 3."""
        return self.urls.sqlalchemy

    @property
    def sqlalchemy_async(self) -> str:
        """For `create_async_engine` with asyncpg."""
        return self.urls.sqlalchemy_async

    def connect(self, **options: Any) -> Any:
        """Open a connection of psycopg 3 or psycopg2; with `rollback` its commits are real, as it has not joined."""
        return self.urls.connect(**options)

    async def aconnect(self, **options: Any) -> asyncpg.Connection[Any]:
        """Open a connection of asyncpg; with `rollback` its commits are real, as it has not joined."""
        return await self.urls.aconnect(**options)

    def join(self, thing: Any) -> Joined:
        """Let an engine of the application use this database until the test ends, or until the `with` block does.

        Args:
            thing: an engine, an AsyncEngine, a session maker, or a session. It may have been made for any address;
                nothing is ever sent there.

        Raises:
            BadInput: there is no engine behind it.
            Conflict: it has joined already.
        """
        from cos.testing.join import Joined, engine_of  # noqa: PLC0415  (SQLAlchemy is only loaded for who uses it)

        joined = Joined(
            engine_of(thing),
            database=self.urls,
            rolled_back=self.isolation == "rollback",
            kept=self._databases.kept,
        )
        self._exits.callback(joined.end)
        return joined

    def close(self) -> None:
        """Let the engines go, the last first, and give the clone back."""
        try:
            self._exits.close()
        finally:
            if self.isolation == "commit":
                self._databases.give_back(self.urls)
