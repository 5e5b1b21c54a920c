"""What one pytest process has of servers and threads: each made when it is first asked for, ended in reverse."""

from __future__ import annotations

import contextlib
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, unquote, urlsplit, urlunsplit

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cos.infra.folder import DataFolder
    from cos.testing.arming import Faults
    from cos.testing.backstage import Backstage
    from cos.testing.databases import Databases
    from cos.testing.guarded import GuardLine
    from cos.testing.postgres import PostgresService
    from cos.testing.proxied import ProxyProcess, Route
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
        docker: str,
    ) -> None:
        """Keep what the project set.

        Args:
            project: the root folder of the tests.
            worker: of pytest-xdist, or "main".
            cache: a folder for servers instead of the usual one; empty for that.
            postgres_url: a Postgres to use instead of the kit's own; empty for that.
            postgres_settings: further settings of the kit's own Postgres.
            redis_url: a Redis to use instead of the kit's own; empty for that.
            docker: address of the Docker engine; empty for the usual one.
        """
        self._project = project
        self._worker = worker
        self._cache = cache
        self._postgres_url = postgres_url
        self._postgres_settings = postgres_settings
        self._redis_url = redis_url
        self._docker = docker
        self._exits = contextlib.ExitStack()
        self.proxied = False
        #: The ways through the proxy to the servers, by name.
        self.routes: dict[str, Route] = {}

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

        made = DataFolder.open(self.quarters.path)
        self.quarters.remember(made.sockets)
        return made

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
            return self._proxied_postgres(made)
        start = postgres.start_embedded_postgres(
            folder=self.folder, clusters=PreparedClusters(cache=self.cache), settings=self._postgres_settings
        )
        server = self.backstage.run(start, seconds=_START_SECONDS)
        direct = postgres.embedded_database(self.folder.sockets)
        made = postgres.PostgresService(backstage=self.backstage, direct=direct, server=server)
        self._exits.callback(made.close)
        return self._proxied_postgres(made)

    @cached_property
    def redis(self) -> RedisService:
        """A running Redis."""
        from cos.testing import redis  # noqa: PLC0415  (as above)

        if self._redis_url:
            from cos.testing.given_redis import claim_database  # noqa: PLC0415  (as above)

            url, owner = claim_database(self._redis_url)
            made = redis.RedisService(backstage=self.backstage, direct=url, server=None, owner=owner)
            self._exits.callback(made.close)
            return self._proxied_redis(made)
        from cos.infra.redis import SOCKET_NAME, EmbeddedRedis  # noqa: PLC0415  (as above)

        server = EmbeddedRedis(folder=self.folder, fsync=False, guard="quick")
        self.backstage.run(server.start(), seconds=_START_SECONDS)
        direct = redis.socket_url(self.folder.sockets / SOCKET_NAME)
        made = redis.RedisService(backstage=self.backstage, direct=direct, server=server)
        self._exits.callback(made.close)
        return self._proxied_redis(made)

    @cached_property
    def databases(self) -> Databases:
        """The template and its clones."""
        from cos.testing.databases import Databases  # noqa: PLC0415  (as above)

        made = Databases(postgres=self.postgres, backstage=self.backstage)
        self._exits.callback(made.close)
        return made

    @cached_property
    def guard(self) -> GuardLine:
        """The line to the guard, which is started by its first use."""
        from cos.testing.guarded import GuardLine  # noqa: PLC0415  (as above)

        made = GuardLine(journals=self.journals)
        self._exits.callback(made.close)
        return made

    @cached_property
    def journals(self) -> Path:
        """The folder of the guards' journals; it is not in the cache, as a fault must not be forgotten."""
        import platformdirs  # noqa: PLC0415  (as above)

        path = Path(platformdirs.user_state_path("cos"), "testing", "journals")
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError:
            return self.cache / "journals"
        return path

    @cached_property
    def proxy(self) -> ProxyProcess:
        """The proxy."""
        from cos.testing.proxied import ProxyProcess  # noqa: PLC0415  (as above)

        made = ProxyProcess()
        self._exits.callback(made.close)
        return made

    @cached_property
    def faults(self) -> Faults:
        """All faults."""
        from cos.testing.arming import Faults  # noqa: PLC0415  (as above)

        return Faults(kit=self, docker=self._docker)

    def proxy_socket(self, number: int) -> str:
        """Give a path for a unix socket of the proxy."""
        return str(self.public / f"{number}.sock")

    @cached_property
    def public(self) -> Path:
        """The folder of the proxy's sockets, named as the servers name theirs."""
        from cos.infra.sockets import socket_folder  # noqa: PLC0415  (as above)

        path = self.quarters.path / "public"
        path.mkdir(mode=0o700, exist_ok=True)
        return self.quarters.remember(socket_folder(path))

    def heal_leftovers(self) -> None:
        """Start the guard if a dead one has left faults, wherever they are; looking costs next to nothing."""
        if any(self.journals.glob("*.journal")):
            self.guard.start()

    def _proxied_postgres(self, service: PostgresService) -> PostgresService:
        direct = service.direct
        if self.proxied and "sslmode" not in direct.options:
            from cos.testing.proxied import Route  # noqa: PLC0415  (as above)

            name = f".s.PGSQL.{direct.port}"
            local = direct.host.startswith("/")
            to = f"{direct.host}/{name}" if local else (direct.host, direct.port)
            route = Route(self.proxy, at=str(self.public / name) if local else ("127.0.0.1", 0), to=to)
            self.routes["postgres"] = route
            host, port = (str(self.public), direct.port) if isinstance(route.address, str) else route.address
            service.main = direct.at(host=host, port=port)
        return service

    def _proxied_redis(self, service: RedisService) -> RedisService:
        parts = urlsplit(service.direct)
        if self.proxied and parts.scheme != "rediss":
            from cos.testing.proxied import Route  # noqa: PLC0415  (as above)

            if parts.scheme == "unix":
                at = str(self.public / "redis.sock")
                self.routes["redis"] = Route(self.proxy, at=at, to=unquote(parts.path))
                service.url = f"unix://{quote(at)}{f'?{parts.query}' if parts.query else ''}"
            else:
                to = (parts.hostname or "localhost", parts.port or 6379)
                self.routes["redis"] = route = Route(self.proxy, at=("127.0.0.1", 0), to=to)
                who = f"{parts.netloc.rpartition('@')[0]}@" if "@" in parts.netloc else ""
                service.url = urlunsplit(parts._replace(netloc=f"{who}127.0.0.1:{route.address[1]}"))
        return service

    def has(self, name: str) -> bool:
        """Tell whether something has been made already."""
        return name in self.__dict__

    def close(self) -> None:
        """Heal what is left while the servers still run, then end everything that was made, the last first."""
        from cos.errors import CosError  # noqa: PLC0415  (as above)

        if self.has("faults"):
            with contextlib.suppress(CosError):  # what cannot be healed here is the guard's
                self.faults.quiet(seconds=1.0)
        self._exits.close()
