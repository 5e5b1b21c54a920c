"""Connections to Postgres: bare asyncpg ones for hot paths, and SQLAlchemy sessions over the same driver."""

from __future__ import annotations

import shutil
import ssl
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import asyncpg

from cos.common.tls_files import unreadable
from cos.errors import (
    BadSetting,
    CosError,
    DiskFull,
    PostgresDiskFull,
    PostgresUnreachable,
    WrongPassword,
)

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

    _Driver = asyncpg.Connection[Any]
else:
    _Driver = asyncpg.Connection

CONNECT_TIMEOUT_SECONDS = 10.0
COMMAND_TIMEOUT_SECONDS = 30.0
POOL_TIMEOUT_SECONDS = 10.0
#: A server that hangs is not asked for its consent to be left.
CLOSE_TIMEOUT_SECONDS = 0.5

#: Postgres makes files of this size for its log before it writes to them: with less room it does not come up again.
SEGMENT_BYTES = 16 * 1024**2

#: What asyncpg raises when the server cannot be reached, is starting, stopping or has gone in mid-command.
LOST = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.CannotConnectNowError,
    asyncpg.TooManyConnectionsError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
)

_SENTENCES: tuple[tuple[tuple[type[BaseException], ...], type[CosError], str], ...] = (
    (
        (asyncpg.InvalidPasswordError, asyncpg.InvalidAuthorizationSpecificationError),
        WrongPassword,
        "Postgres at {place} refused the user or the password; correct them in COS_DATABASE_URL.",
    ),
    (
        (asyncpg.InvalidCatalogNameError,),
        PostgresUnreachable,
        "Postgres at {place} answers, but that database does not exist; create it first.",
    ),
    (
        # Postgres writes a cache file of its own for a new connection; those that stand need none and go on.
        (asyncpg.DiskFullError,),
        DiskFull,
        "The disk of Postgres at {place} is full and it takes no new connection; free some space, nothing was lost.",
    ),
    (
        (asyncpg.CannotConnectNowError,),
        PostgresUnreachable,
        "Postgres at {place} is still starting or stopping; try again shortly.",
    ),
    (
        (TimeoutError,),
        PostgresUnreachable,
        f"Postgres at {{place}} did not answer within {CONNECT_TIMEOUT_SECONDS:.0f} s.",
    ),
)


def where(url: str) -> str:
    """Name the server in a URL without its user, password or options, for messages."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return "the given URL"
    if "@" in parts.path:  # the rest of a password that holds a slash
        return "the given URL"
    return f"{host or 'the local socket'}{f':{port}' if port else ''}{parts.path}"


class _Connection(_Driver):
    """The driver's own, which can always be closed soon: one that a hanging server keeps busy is cut off."""

    async def close(self, *, timeout: float | None = None) -> None:  # noqa: ASYNC109  (the driver's own signature)
        with suppress(TimeoutError):  # the driver has cut it off then
            await super().close(timeout=CLOSE_TIMEOUT_SECONDS if timeout is None else timeout)


async def connect(url: str, *, name: str = "cos") -> asyncpg.Connection[Any]:
    """Open one connection.

    Args:
        url: a `postgresql://` URL as libpq reads it (`?host=/folder` for a socket, `?sslmode=…` for TLS).
        name: shown as `application_name` in `pg_stat_activity`.

    Raises:
        WrongPassword: the server refused the user or the password.
        DiskFull: the server has no room for what a new connection needs.
        PostgresUnreachable: anything else that keeps us from connecting, in words.
    """
    try:
        return await asyncpg.connect(
            url,
            connection_class=_Connection,
            timeout=CONNECT_TIMEOUT_SECONDS,
            command_timeout=COMMAND_TIMEOUT_SECONDS,
            server_settings={"application_name": name, "timezone": "UTC"},
        )
    except Exception as error:  # every way in which a connection can fail becomes one sentence
        raise connect_error(url, error) from error


def connect_error(url: str, error: BaseException) -> CosError:
    """Say in one sentence why a connection to `url` failed."""
    if isinstance(error, CosError):
        return error
    place = where(url)
    for known, kind, sentence in _SENTENCES:
        if isinstance(error, known):
            return kind(sentence.format(place=place))
    if isinstance(error, ValueError) and not isinstance(error, (asyncpg.InterfaceError, ssl.SSLError)):
        # Not in the reader's words: they may quote a piece of the password, where it holds a character like / or #.
        return BadSetting(
            "The setting COS_DATABASE_URL is no URL that can be read: it looks like "
            "postgresql://user:password@host:5432/database, with / ? # @ [ ] in the password written as %2F %3F …."
        )
    if isinstance(error, OSError) and (file := unreadable(url)) is not None:
        return BadSetting(f"Postgres at {place} cannot be reached: {file}.")
    if isinstance(error, FileNotFoundError | ConnectionRefusedError) and (full := _full(url)) is not None:
        return full
    said = " ".join(str(error).split())[:200].rstrip(".") or type(error).__name__
    what = f"The TLS handshake with Postgres at {place} failed" if isinstance(error, ssl.SSLError) else None
    return PostgresUnreachable(f"{what or f'Postgres at {place} cannot be reached'}: {said}.")


def _full(url: str) -> PostgresDiskFull | None:
    """Say that a Postgres of this machine is away because there is no room for it, if that is so."""
    folder = parse_qs(urlsplit(url).query).get("host", [""])[0]
    try:
        free = shutil.disk_usage(folder).free if folder.startswith("/") else SEGMENT_BYTES
    except OSError:
        return None
    if free >= SEGMENT_BYTES:
        return None
    return PostgresDiskFull(
        f"Postgres does not run: the disk under its folder is full ({free / 1024**2:.1f} MiB are free). Make room, and "
        "it comes back by itself; what was recorded is safe."
    )


def create_engine(url: str, *, pool_size: int) -> AsyncEngine:
    """Make the SQLAlchemy engine for sessions; it connects when first used.

    A pooled connection that its server has closed is replaced at check-out; the driver has already seen the end of
    the stream, so this costs no round trip.

    Args:
        url: as for `connect`.
        pool_size: most connections open at once.
    """
    # Here, for it takes longer to load than many a command to run, and most of those only connect.
    from sqlalchemy import event  # noqa: PLC0415
    from sqlalchemy.exc import DisconnectionError  # noqa: PLC0415
    from sqlalchemy.ext.asyncio import create_async_engine  # noqa: PLC0415

    async def creator() -> asyncpg.Connection[Any]:
        return await connect(url, name="cos session")

    engine = create_async_engine(
        "postgresql+asyncpg://",
        async_creator=creator,
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=POOL_TIMEOUT_SECONDS,
    )

    @event.listens_for(engine.sync_engine, "checkout")
    def refuse_closed(connection: Any, _record: Any, _proxy: Any) -> None:
        if connection.driver_connection.is_closed():
            raise DisconnectionError

    return engine
