"""The databases of one session: a template that is filled once, and clones of it that are made before they are needed.

    template  ──sealed──►  main              where the rollback isolation works
                           1, 2, 3 …         one for each test with real commits; ready ahead, dropped behind

On a Postgres that the kit brings, nothing has to be tidied: the whole cluster goes. On a given one every name begins
with the session's own prefix, and an advisory lock says that the session lives; who comes next drops the others'.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from typing import TYPE_CHECKING, Any, Final

from cos.common.ids import random_hex
from cos.errors import CosError, ServerFailed

if TYPE_CHECKING:
    from cos.testing.backstage import Backstage
    from cos.testing.database import PostgresDatabase
    from cos.testing.postgres import PostgresService

#: How many clones are ready before a test asks: one to take, one being made.
AHEAD: Final = 2
#: How many used ones may lie about before dropping them comes before making new ones; each takes 8 MB.
MOST_USED: Final = 20
_SECONDS: Final = 60.0
#: A test may just now have stopped the server: it is given these seconds to come back.
_RETRY_PAUSES: Final = (0.05, 0.2, 0.5, 1.0, 2.0, 4.0, 0.0)
_LOCK_CLASS: Final = 0x636F73
_NAME: Final = re.compile(r"cos_(?P<session>[0-9a-f]{8})_\w+")

# Names are quoted below, and are made of letters, digits and underscores anyway. FILE_COPY writes half of what WAL_LOG
# writes; the checkpoints that it takes are short in a cluster without fsync.
_CREATE: Final = 'CREATE DATABASE "{name}"{template} STRATEGY FILE_COPY'
_DROP: Final = 'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)'
_SEAL: Final = 'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false'
# Right without a lock: the database takes no new connections any more.
_CUT_OFF: Final = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = $1"
_LIST: Final = "SELECT datname FROM pg_database WHERE datname LIKE 'cos\\_%'"
_LOCK: Final = "SELECT pg_try_advisory_lock($1, $2) AS taken"
_UNLOCK: Final = "SELECT pg_advisory_unlock($1, $2)"


class Databases:
    """Makes, gives and takes back the databases of one session."""

    def __init__(self, *, postgres: PostgresService, backstage: Backstage) -> None:
        """Take the session's prefix; on a given server also sweep what dead sessions left.

        Args:
            postgres: the server.
            backstage: where clones are made while tests run.
        """
        self._postgres = postgres
        self._backstage = backstage
        self._session = random_hex(4)
        self._count = 0
        self._used: list[str] = []
        self._ready: asyncio.Queue[str | CosError] | None = None
        self._maker: asyncio.Task[None] | None = None
        self._sealed = False
        #: Connections of engines that were rolled back, so that the next test need not connect anew.
        self.kept: dict[Any, Any] = {}
        self.template: PostgresDatabase | None = None
        self.main: PostgresDatabase | None = None
        if postgres.server is None:
            backstage.run(self._sweep(), seconds=_SECONDS)

    def make_template(self) -> PostgresDatabase:
        """Create the empty template and give it, to be filled by the project."""
        self.template = self._create("template", template=None)
        return self.template

    def seal(self) -> None:
        """Close the template to everybody, so that it can be cloned; does nothing the second time.

        Raises:
            ServerFailed: there is no template yet.
        """
        if self._sealed:
            return
        if self.template is None:
            raise ServerFailed("The template database was asked for before it was made.")
        self._backstage.run(self._seal(self.template.database), seconds=_SECONDS)
        self._sealed = True

    def make_main(self) -> PostgresDatabase:
        """Clone the template once, for everything that is rolled back."""
        self.seal()
        if self.main is None:
            self.main = self._create("main", template=self._name("template"))
        return self.main

    def take(self) -> PostgresDatabase:
        """Give a fresh clone; usually one that is ready.

        Raises:
            CosError: it could not be made; quotes why.
        """
        self.seal()
        found = self._backstage.run(self._next(), seconds=_SECONDS)
        if isinstance(found, CosError):
            raise found
        return self._postgres.database(found)

    def give_back(self, database: PostgresDatabase) -> None:
        """Take a clone that nobody needs any more; it is dropped when there is time."""
        self._used.append(database.database)

    def forget_connections(self) -> None:
        """Drop the connections that are kept for later tests: the server was away, so they lead nowhere."""
        for pool in self.kept.values():
            if pool._dialect.is_async:  # noqa: SLF001  (its connection is closed by its loop)
                pool.__dict__.pop("connection", None)
            else:
                pool.dispose()

    def close(self) -> None:
        """Stop making clones; on a given server also drop all that is ours."""
        if self._maker is not None:
            self._backstage.run(self._stop_making(self._maker), seconds=_SECONDS)
        for pool in self.kept.values():
            if not pool._dialect.is_async:  # noqa: SLF001  (an async one is closed by its loop)
                pool.dispose()
        if self._postgres.server is None:
            with contextlib.suppress(CosError):
                self._backstage.run(self._drop_all(self._session), seconds=_SECONDS)

    def _name(self, what: str) -> str:
        return f"cos_{self._session}_{what}"

    def _create(self, what: str, *, template: str | None) -> PostgresDatabase:
        name = self._name(what)
        self._backstage.run(self._make(name, template), seconds=_SECONDS)
        return self._postgres.database(name)

    async def _make(self, name: str, template: str | None) -> None:
        source = f' TEMPLATE "{template}"' if template else ""
        await self._run(_CREATE.format(name=name, template=source))

    async def _seal(self, name: str) -> None:
        await self._run(_SEAL.format(name=name))
        await self._postgres.afetch(_CUT_OFF, name)

    async def _next(self) -> str | CosError:
        if self._ready is None:
            self._ready = asyncio.Queue(maxsize=AHEAD - 1)
            self._maker = asyncio.create_task(self._make_ahead(self._ready))
        return await self._ready.get()

    async def _stop_making(self, maker: asyncio.Task[None]) -> None:
        maker.cancel()
        await asyncio.wait({maker})

    async def _make_ahead(self, ready: asyncio.Queue[str | CosError]) -> None:
        """Keep clones ready; a failure is given to the next test that takes one, and the one after tries again."""
        while True:
            if len(self._used) > MOST_USED or (self._used and ready.full()):
                with contextlib.suppress(CosError):
                    await self._run(_DROP.format(name=self._used.pop(0)))
                continue
            self._count += 1
            name = self._name(str(self._count))
            for pause_seconds in _RETRY_PAUSES:
                try:
                    await self._make(name, self._name("template"))
                except CosError as error:
                    if not pause_seconds:
                        await ready.put(error)
                    await asyncio.sleep(pause_seconds)
                else:
                    await ready.put(name)
                    break

    async def _run(self, statement: str) -> None:
        import asyncpg  # noqa: PLC0415  (loaded with the control connection)

        try:
            await self._postgres.aexecute(statement)
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError) as error:
            raise ServerFailed(f"Postgres refused {statement!r}: {str(error).rstrip('.')}.") from error

    async def _sweep(self) -> None:
        await self._lock(self._session)
        rows: list[Any] = await self._postgres.afetch(_LIST)
        matches = filter(None, (_NAME.fullmatch(row["datname"]) for row in rows))
        for session in {found["session"] for found in matches} - {self._session}:
            if await self._lock(session):
                await self._drop_all(session)
                await self._postgres.afetch(_UNLOCK, _LOCK_CLASS, _key(session))

    async def _lock(self, session: str) -> bool:
        rows = await self._postgres.afetch(_LOCK, _LOCK_CLASS, _key(session))
        return bool(rows[0]["taken"])

    async def _drop_all(self, session: str) -> None:
        for row in await self._postgres.afetch(_LIST):
            if str(row["datname"]).startswith(f"cos_{session}_"):
                await self._run(_DROP.format(name=row["datname"]))


def _key(session: str) -> int:
    return int(session, 16) - 2**31
