"""One Postgres database, and how each driver is told where it is."""

from __future__ import annotations

import importlib
import importlib.util
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Self
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from cos.errors import BadSetting

if TYPE_CHECKING:
    from collections.abc import Mapping

    import asyncpg

_SCHEMES: Final = ("postgresql", "postgres")
_DEFAULT_PORT: Final = 5432


@dataclass(frozen=True, slots=True, kw_only=True)
class PostgresDatabase:
    """One database, as psycopg, asyncpg, SQLAlchemy and Django want it named.

    Attributes:
        host: a host name, or the folder of the socket.
        port: its port, which is part of the socket's name too.
        user: who connects.
        password: empty when none is needed.
        database: its name.
        options: what else a given URL said, such as `sslmode`.
    """

    host: str
    user: str
    database: str
    port: int = _DEFAULT_PORT
    password: str = ""
    options: Mapping[str, str]

    @classmethod
    def parse(cls, url: str, *, setting: str) -> Self:
        """Read a `postgresql://` URL.

        Args:
            url: as libpq reads it; a SQLAlchemy driver in the scheme is left out.
            setting: what it came from, for the sentence.

        Raises:
            BadSetting: it is no such URL.
        """
        sentence = (
            f"{setting} is no URL of a Postgres: it looks like postgresql://user:password@host:5432/database, "
            "with / ? # @ [ ] in the password written as %2F %3F …."
        )
        try:
            parts = urlsplit(url)
            host, port, options = parts.hostname, parts.port, dict(parse_qsl(parts.query))
        except ValueError:
            raise BadSetting(sentence) from None
        if parts.scheme.partition("+")[0] not in _SCHEMES or "@" in parts.path:
            raise BadSetting(sentence)
        where = options.pop("host", "") or host
        if not where:
            raise BadSetting(sentence)
        return cls(
            host=where,
            port=port or int(options.pop("port", _DEFAULT_PORT)),
            user=unquote(parts.username or options.pop("user", "postgres")),
            password=unquote(parts.password or ""),
            database=unquote(parts.path.lstrip("/")) or "postgres",
            options=options,
        )

    def named(self, database: str) -> Self:
        """Give the same for another database of this server."""
        return replace(self, database=database)

    def at(self, *, host: str, port: int) -> Self:
        """Give the same for another way to this server."""
        return replace(self, host=host, port=port)

    @property
    def url(self) -> str:
        """For libpq, psycopg, psycopg2 and asyncpg."""
        return self._url("postgresql")

    @property
    def sqlalchemy(self) -> str:
        """For `sqlalchemy.create_engine` with psycopg 3."""
        return self._url("postgresql+psycopg")

    @property
    def sqlalchemy_psycopg2(self) -> str:
        """For `sqlalchemy.create_engine` with psycopg2."""
        return self._url("postgresql+psycopg2")

    @property
    def sqlalchemy_async(self) -> str:
        """For `sqlalchemy.ext.asyncio.create_async_engine` with asyncpg."""
        return self._url("postgresql+asyncpg")

    @property
    def django(self) -> dict[str, Any]:
        """For one entry of Django's `DATABASES`."""
        return {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": self.database,
            "USER": self.user,
            "PASSWORD": self.password,
            "HOST": self.host,
            "PORT": str(self.port),
            "OPTIONS": dict(self.options),
        }

    @property
    def parameters(self) -> dict[str, Any]:
        """Keyword arguments for `psycopg.connect`."""
        return {
            "host": self.host,
            "port": self.port,
            "user": self.user,
            "dbname": self.database,
            **({"password": self.password} if self.password else {}),
            **self.options,
        }

    @property
    def asyncpg_parameters(self) -> dict[str, Any]:
        """Keyword arguments for `asyncpg.connect`."""
        known = {"host": self.host, "port": self.port, "user": self.user, "database": self.database}
        secret = {"password": self.password} if self.password else {}
        return {**known, **secret, **({"ssl": self.options["sslmode"]} if "sslmode" in self.options else {})}

    def connect(self, **options: Any) -> Any:
        """Open a connection of psycopg 3, or else of psycopg2; whoever asks closes it.

        Args:
            **options: further arguments of the driver's `connect`.

        Raises:
            BadSetting: neither driver is installed.
        """
        for name in ("psycopg", "psycopg2"):
            if importlib.util.find_spec(name):
                return importlib.import_module(name).connect(**self.parameters, **options)
        raise BadSetting("connect() needs a driver for Postgres: run pip install 'psycopg[binary]'.")

    async def aconnect(self, **options: Any) -> asyncpg.Connection[Any]:
        """Open a connection of asyncpg; whoever asks closes it.

        Args:
            **options: further arguments of `asyncpg.connect`.
        """
        import asyncpg  # noqa: PLC0415  (only who asks pays)

        connection: asyncpg.Connection[Any] = await asyncpg.connect(**self.asyncpg_parameters, **options)
        return connection

    def _url(self, scheme: str) -> str:
        secret = f":{quote(self.password, safe='')}" if self.password else ""
        who, name = quote(self.user, safe=""), quote(self.database, safe="")
        options = dict(self.options)
        if self.host.startswith("/"):
            place = ""
            port = {"port": str(self.port)} if self.port != _DEFAULT_PORT else {}
            options = {"host": self.host} | port | options
        else:
            place = f"[{self.host}]" if ":" in self.host else self.host
            place += f":{self.port}"
        query = f"?{urlencode(options, quote_via=quote, safe='')}" if options else ""
        return f"{scheme}://{who}{secret}@{place}/{name}{query}"
