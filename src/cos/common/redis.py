"""Connections to Redis, and the sentence for one that cannot be made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, NoPermissionError, RedisError, ResponseError
from redis.exceptions import ConnectionError as LostConnection

from cos.common.tls_files import unreadable
from cos.errors import BadSetting, CosError, RedisUnreachable, ServerTooOld, WrongPassword

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

CONNECT_TIMEOUT_SECONDS = 2.0
COMMAND_TIMEOUT_SECONDS = 5.0
MAX_CONNECTIONS = 50
#: Claims by idle time and trimming by id came with 6.2, which is also what COS is tested on.
MIN_VERSION = (6, 2)

#: What the client raises when Redis cannot be reached or has gone in mid-command.
LOST = (RedisError, OSError, TimeoutError)


def create_redis(url: str) -> Redis:
    """Make a client; it connects when first used, and never repeats a command by itself.

    Args:
        url: `redis://`, `rediss://` (TLS) or `unix://`.

    Raises:
        BadSetting: the URL cannot be read.
    """
    try:
        return Redis.from_url(
            url,
            socket_connect_timeout=CONNECT_TIMEOUT_SECONDS,
            socket_timeout=COMMAND_TIMEOUT_SECONDS,
            max_connections=MAX_CONNECTIONS,
            retry=Retry(NoBackoff(), 0),
            client_name="cos",
        )
    except (ValueError, TypeError):
        # Not in the reader's words: they may quote a piece of the password, where it holds a character like / or #.
        raise BadSetting(
            "The setting COS_REDIS_URL is no URL that can be read: it looks like redis://user:password@host:6379/0, "
            "with / ? # @ [ ] in the password written as %2F %3F …."
        ) from None


async def send_together(redis: Redis, commands: Sequence[Sequence[str | bytes | int]]) -> list[Any]:
    """Send commands in one piece and give their answers, in order.

    What a pipeline does, at a third of its cost to this process: for the few places where each event passes.

    Args:
        redis: whose pool lends the connection.
        commands: each with its arguments.

    Raises:
        RedisError: Redis did not answer, or refused one of them; the others were carried out all the same.
    """
    pool = redis.connection_pool
    connection = await pool.get_connection()  # type: ignore[no-untyped-call]  # the client leaves it untyped
    try:
        await connection.send_packed_command(connection.pack_commands(commands))
        answers: list[Any] = []
        refused: ResponseError | None = None
        for _ in commands:
            try:
                answers.append(await connection.read_response())
            except ResponseError as error:  # the answers after it still have to be read
                refused = refused or error
    except BaseException:
        await connection.disconnect(nowait=True)  # what comes over it now would be another's answer
        raise
    finally:
        await pool.release(connection)
    if refused is not None:
        raise refused
    return answers


def where(url: str) -> str:
    """Name the server in a URL without its user, password or options, for messages."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "localhost", parts.port or 6379
    except ValueError:
        return "the given URL"
    return "its socket" if parts.scheme == "unix" else f"{host}:{port}"


async def check(redis: Redis, url: str) -> str:
    """Prove that Redis answers and is new enough; gives its version.

    Raises:
        WrongPassword: it refused the user or password.
        RedisUnreachable: it does not answer.
        ServerTooOld: it is older than COS needs.
    """
    try:
        await cast("Any", redis.ping())
        info: Mapping[str, Any] = await redis.info("server")
    except LOST as error:
        raise connect_error(url, error) from error
    version = str(info.get("redis_version", "0"))
    if tuple(int(part) for part in version.split(".")[:2] if part.isdigit()) < MIN_VERSION:
        needed = ".".join(str(part) for part in MIN_VERSION)
        raise ServerTooOld(f"Redis at {where(url)} is version {version}; COS needs {needed} or newer.")
    return version


def connect_error(url: str, error: Exception) -> CosError:
    """Say in one sentence why Redis did not do what was asked."""
    if isinstance(error.__cause__, AuthenticationError | NoPermissionError):
        error = error.__cause__  # the client wraps what happens while it connects
    if isinstance(error, OSError | LostConnection) and (file := unreadable(url)) is not None:
        return BadSetting(f"Redis at {where(url)} does not answer: {file}.")
    said = " ".join(str(error).split())[:200].rstrip(".") or type(error).__name__
    refused = isinstance(error, AuthenticationError | NoPermissionError) or said.startswith(
        ("NOAUTH", "WRONGPASS")
    )
    if refused or (isinstance(error, ResponseError) and "AUTH" in said.upper()):
        return WrongPassword(
            f"Redis at {where(url)} refused the user or the password; correct them in COS_REDIS_URL."
        )
    if isinstance(error, ResponseError):
        return RedisUnreachable(f"Redis at {where(url)} refused: {said}.")
    return RedisUnreachable(f"Redis at {where(url)} does not answer: {said}.")
