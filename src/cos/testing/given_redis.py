"""A database of somebody else's Redis that nobody uses: found, marked as taken, and never a full one."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING, Any, Final, cast
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from cos.errors import BadSetting, RedisUnreachable, WrongPassword
from cos.testing.redis import OWNER_KEY

if TYPE_CHECKING:
    import redis

_DATABASES: Final = 16
_SECONDS: Final = 5.0


def claim_database(url: str) -> tuple[str, str]:
    """Take the first free database of a server, from the one in the URL upwards.

    Free is one that is empty, or that a test session of this machine left when it died. One that holds anything
    else is never touched.

    Args:
        url: `redis://`, `rediss://` or `unix://`, with the lowest number to take.

    Returns:
        The URL with the number, and what now stands in it under `OWNER_KEY`.

    Raises:
        BadSetting: the URL cannot be read, or every database from there on is in use.
        RedisUnreachable: the server does not answer.
        WrongPassword: it refused the password.
    """
    from redis import Redis  # noqa: PLC0415  (only a session with a given server pays)
    from redis.exceptions import AuthenticationError, RedisError, ResponseError  # noqa: PLC0415

    owner = f"{socket.gethostname()}:{os.getpid()}"
    first, place = _number_of(url), urlsplit(url).hostname or "the given socket"
    for number in range(first, _DATABASES):
        numbered = _with_number(url, number)
        try:
            client = Redis.from_url(numbered, socket_timeout=_SECONDS, socket_connect_timeout=_SECONDS)
        except (ValueError, TypeError):
            raise BadSetting(_NO_URL) from None
        try:
            if _claim(client, owner):
                return numbered, owner
        except AuthenticationError:
            raise WrongPassword(f"Redis at {place} refused the password in cos_redis_url.") from None
        except ResponseError:  # fewer databases than usual
            break
        except (RedisError, OSError) as error:
            raise RedisUnreachable(
                f"Redis at {place} cannot be reached ({str(error).rstrip('.')}): start it, correct cos_redis_url, "
                "or leave it out and the kit brings its own."
            ) from error
        finally:
            client.close()
    raise BadSetting(
        f"Redis at {place} has no empty database from number {first} on, and the kit empties none that holds "
        "anything: name a free one in cos_redis_url, or leave it out and the kit brings its own."
    )


_NO_URL: Final = (
    "cos_redis_url is no URL of a Redis: it looks like redis://user:password@host:6379/0, "
    "with / ? # @ [ ] in the password written as %2F %3F …."
)


def _claim(client: redis.Redis, owner: str) -> bool:
    found = cast("Any", client.get(OWNER_KEY))
    if found is None:
        if client.dbsize() != 0:
            return False
        return bool(client.set(OWNER_KEY, owner, nx=True))
    host, _, pid = found.decode(errors="replace").rpartition(":")
    if host != socket.gethostname() or not pid.isdigit() or _lives(int(pid)):
        return False
    client.flushdb()
    return bool(client.set(OWNER_KEY, owner, nx=True))


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _number_of(url: str) -> int:
    parts = urlsplit(url)
    if parts.scheme not in {"redis", "rediss", "unix"} or not (parts.hostname or parts.scheme == "unix"):
        raise BadSetting(_NO_URL)
    text = dict(parse_qsl(parts.query)).get("db", "") if parts.scheme == "unix" else parts.path.strip("/")
    if text and not text.isdigit():
        raise BadSetting(_NO_URL)
    return int(text or 0)


def _with_number(url: str, number: int) -> str:
    parts = urlsplit(url)
    if parts.scheme != "unix":
        return urlunsplit(parts._replace(path=f"/{number}"))
    query = dict(parse_qsl(parts.query)) | {"db": str(number)}
    return f"unix://{parts.path}?{urlencode(query)}"
