"""The Postgres of a test session: brought by the kit and alone with it, or given by a URL."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Any, Final

from cos.errors import BadSetting, PostgresUnreachable
from cos.infra.cluster import DATABASE, USER
from cos.infra.postgres import SOCKET_NAME, EmbeddedPostgres
from cos.testing.database import PostgresDatabase

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import asyncpg

    from cos.infra.folder import DataFolder
    from cos.testing.backstage import Backstage
    from cos.testing.clusters import PreparedClusters

_START_SECONDS: Final = 120.0
_STATEMENT_SECONDS: Final = 60.0


class PostgresService:
    """A running Postgres; `direct` names its first database, `main` the same as the tests should reach it."""

    def __init__(
        self,
        *,
        backstage: Backstage,
        direct: PostgresDatabase,
        server: EmbeddedPostgres | None,
    ) -> None:
        """Hold a server that runs; see `start_postgres` and `given_postgres`.

        Args:
            backstage: where its control connection lives.
            direct: its first database, past any proxy.
            server: the child process; None when the server is somebody else's.
        """
        self._backstage = backstage
        self._control: asyncpg.Connection[Any] | None = None
        self.server = server
        self.direct = direct
        self.main = direct

    @property
    def url(self) -> str:
        """The first database's URL, for libpq, psycopg and asyncpg."""
        return self.main.url

    def database(self, name: str) -> PostgresDatabase:
        """Name another database of this server; it need not exist."""
        return self.main.named(name)

    @property
    def pid(self) -> int | None:
        """Give the postmaster's process id; None when the server is not ours, or down."""
        return self.server.pid if self.server else None

    def execute(self, statement: str) -> str:
        """Run one statement as the owner, outside any transaction; gives the command's tag."""
        return self._backstage.run(self.aexecute(statement), seconds=_STATEMENT_SECONDS)

    async def aexecute(self, statement: str) -> str:
        """Do what `execute` does, for what already runs backstage."""
        connection = await self._controlled()
        return str(await connection.execute(statement))

    async def afetch(self, statement: str, *values: object) -> list[Any]:
        """Give the rows of a query, for what already runs backstage."""
        connection = await self._controlled()
        return list(await connection.fetch(statement, *values))

    def start(self) -> None:
        """Start it again after `stop` or `kill`; does nothing when it runs or is not ours."""
        if self.server is not None:
            self._backstage.run(self.server.start(), seconds=_START_SECONDS)

    def stop(self) -> None:
        """Shut it down in good order: clients are cut off, what was committed is safe."""
        if self.server is not None:
            self._backstage.run(self.server.stop(), seconds=_START_SECONDS)

    def kill(self) -> None:
        """End it as a power cut would, and leave it down."""
        if self.server is not None:
            self._backstage.run(self._kill(self.server), seconds=_START_SECONDS)

    def answers(self) -> bool:
        """Tell whether it runs a statement now."""
        try:
            self.execute("SELECT 1")
        except (OSError, TimeoutError, PostgresUnreachable):
            return False
        return True

    def close(self) -> None:
        """End the control connection, and the server if it is ours."""
        self._backstage.run(self._close(), seconds=_START_SECONDS)

    async def _kill(self, server: EmbeddedPostgres) -> None:
        pid = server.pid
        if pid is not None:
            os.kill(pid, signal.SIGKILL)
        await server.stop()

    async def _close(self) -> None:
        if self._control is not None:
            self._control.terminate()
            self._control = None
        if self.server is not None:
            await self.server.stop()

    async def _controlled(self) -> asyncpg.Connection[Any]:
        import asyncpg  # noqa: PLC0415  (a session without isolation or faults never needs it)

        if self._control is None or self._control.is_closed():
            try:
                self._control = await asyncpg.connect(**self.direct.asyncpg_parameters, timeout=10)
            except (OSError, TimeoutError, asyncpg.PostgresError) as error:
                raise PostgresUnreachable(
                    f"Postgres at {self.direct.host} cannot be reached: {str(error).rstrip('.')}; "
                    "start it, or correct cos_postgres_url."
                ) from error
        return self._control


async def start_embedded_postgres(
    *, folder: DataFolder, clusters: PreparedClusters, settings: Mapping[str, str]
) -> EmbeddedPostgres:
    """Start the kit's own Postgres on a cluster that was prepared; call it backstage.

    Raises:
        ServerFailed: it did not start; quotes why.
        DiskFull: there is no room.
    """
    await clusters.take(folder.postgres)
    server = EmbeddedPostgres(folder=folder, fsync=False, guard="quick", settings=settings)
    await server.start()
    clusters.restock()
    return server


def embedded_database(sockets: Path) -> PostgresDatabase:
    """Name the first database of the kit's own Postgres."""
    return PostgresDatabase(
        host=str(sockets), port=int(SOCKET_NAME.rpartition(".")[2]), user=USER, database=DATABASE, options={}
    )


def read_settings(lines: list[str]) -> dict[str, str]:
    """Read `name = value` lines.

    Raises:
        BadSetting: a line is none.
    """
    found = {}
    for line in lines:
        name, cut, value = line.partition("=")
        if not cut or not name.strip():
            raise BadSetting(f"cos_postgres_settings has the line {line!r}: write it as name = value.")
        found[name.strip()] = value.strip().strip("'")
    return found
