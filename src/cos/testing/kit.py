"""What one pytest process has of servers and threads: each made when it is first asked for, ended in reverse."""

from __future__ import annotations

import contextlib
from functools import cached_property
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from cos.infra.folder import DataFolder
    from cos.testing.backstage import Backstage
    from cos.testing.databases import Databases
    from cos.testing.postgres import PostgresService
    from cos.testing.quarters import Quarters
    from cos.testing.redis import RedisService

_START_SECONDS: Final = 180.0


class Kit:
    """The composition of the test kit; nothing is imported, made or started before it is asked for."""

    def __init__(
        self,
        *,
        project: Path,
        worker: str,
        cache: str,
        postgres_url: str,
        postgres_settings: Mapping[str, str],
        redis_url: str,
    ) -> None:
        """Keep what the project set.

        Args:
            project: the root folder of the tests.
            worker: of pytest-xdist, or "main".
            cache: a folder for servers instead of the usual one; empty for that.
            postgres_url: a Postgres to use instead of the kit's own; empty for that.
            postgres_settings: further settings of the kit's own Postgres.
            redis_url: a Redis to use instead of the kit's own; empty for that.
        """
        self._project = project
        self._worker = worker
        self._cache = cache
        self._postgres_url = postgres_url
        self._postgres_settings = postgres_settings
        self._redis_url = redis_url
        self._exits = contextlib.ExitStack()
        self.proxied = False

    @cached_property
    def backstage(self) -> Backstage:
        """The thread where servers live."""
        from cos.testing.backstage import Backstage  # noqa: PLC0415  (this module must load at once)

        made = Backstage()
        self._exits.callback(made.close)
        return made

    @cached_property
    def cache(self) -> Path:
        """The folder of prepared clusters and running sessions."""
        from cos.testing.quarters import cache_folder  # noqa: PLC0415  (as above)

        return cache_folder(self._cache)

    @cached_property
    def quarters(self) -> Quarters:
        """This session's own folder."""
        from cos.testing.quarters import Quarters  # noqa: PLC0415  (as above)

        made = Quarters(cache=self.cache, project=self._project, worker=self._worker)
        self._exits.callback(made.close)
        return made

    @cached_property
    def folder(self) -> DataFolder:
        """The servers' data folder in it."""
        from cos.infra.folder import DataFolder  # noqa: PLC0415  (as above)

        return DataFolder.open(self.quarters.path)

    @cached_property
    def postgres(self) -> PostgresService:
        """A running Postgres."""
        from cos.testing import postgres  # noqa: PLC0415  (as above)
        from cos.testing.clusters import PreparedClusters  # noqa: PLC0415  (as above)
        from cos.testing.database import PostgresDatabase  # noqa: PLC0415  (as above)

        if self._postgres_url:
            given = PostgresDatabase.parse(self._postgres_url, setting="cos_postgres_url")
            made = postgres.PostgresService(backstage=self.backstage, direct=given, server=None)
            self._exits.callback(made.close)
            made.execute("SELECT 1")
            return made
        start = postgres.start_embedded_postgres(
            folder=self.folder, clusters=PreparedClusters(cache=self.cache), settings=self._postgres_settings
        )
        server = self.backstage.run(start, seconds=_START_SECONDS)
        direct = postgres.embedded_database(self.folder.sockets)
        made = postgres.PostgresService(backstage=self.backstage, direct=direct, server=server)
        self._exits.callback(made.close)
        return made

    @cached_property
    def redis(self) -> RedisService:
        """A running Redis."""
        from cos.testing import redis  # noqa: PLC0415  (as above)

        if self._redis_url:
            from cos.testing.given_redis import claim_database  # noqa: PLC0415  (as above)

            url, owner = claim_database(self._redis_url)
            made = redis.RedisService(backstage=self.backstage, direct=url, server=None, owner=owner)
            self._exits.callback(made.close)
            return made
        from cos.infra.redis import SOCKET_NAME, EmbeddedRedis  # noqa: PLC0415  (as above)

        server = EmbeddedRedis(folder=self.folder, fsync=False, guard="quick")
        self.backstage.run(server.start(), seconds=_START_SECONDS)
        direct = redis.socket_url(self.folder.sockets / SOCKET_NAME)
        made = redis.RedisService(backstage=self.backstage, direct=direct, server=server)
        self._exits.callback(made.close)
        return made

    @cached_property
    def databases(self) -> Databases:
        """The template and its clones."""
        from cos.testing.databases import Databases  # noqa: PLC0415  (as above)

        made = Databases(postgres=self.postgres, backstage=self.backstage)
        self._exits.callback(made.close)
        return made

    def has(self, name: str) -> bool:
        """Tell whether something has been made already."""
        return name in self.__dict__

    def close(self) -> None:
        """End everything that was made, the last first."""
        self._exits.close()
