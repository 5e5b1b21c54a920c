"""The Redis of a test session: brought by the kit and alone with it, or given by a URL."""

from __future__ import annotations

import os
import signal
import socket
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, unquote, urlsplit

from cos.errors import CosError, RedisUnreachable

if TYPE_CHECKING:
    from pathlib import Path

    import redis
    import redis.asyncio

    from cos.infra.redis import EmbeddedRedis
    from cos.testing.backstage import Backstage

_START_SECONDS: Final = 60.0
_COMMAND_SECONDS: Final = 5.0


class RedisService:
    """A running Redis; `direct` is its URL past any proxy, `url` the one that the tests should use."""

    def __init__(
        self, *, backstage: Backstage, direct: str, server: EmbeddedRedis | None, owner: str | None = None
    ) -> None:
        """Hold a server that runs.

        Args:
            backstage: where it was started.
            direct: its URL, the number of the database included.
            server: the child process; None when the server is somebody else's.
            owner: what stands in the database of somebody else's server to say that it is in use.
        """
        self._backstage = backstage
        self._owner = owner
        self._client: redis.Redis | None = None
        self.server = server
        self.direct = direct
        self.url = direct

    @property
    def pid(self) -> int | None:
        """Give its process id; None when the server is not ours, or down."""
        return self.server.pid if self.server else None

    def client(self, **options: Any) -> redis.Redis:
        """Make a client of redis-py; whoever asks closes it.

        Args:
            **options: further arguments of `redis.Redis.from_url`.
        """
        from redis import Redis  # noqa: PLC0415  (only who asks pays)

        return Redis.from_url(self.url, **options)

    def aclient(self, **options: Any) -> redis.asyncio.Redis:
        """Make an asyncio client of redis-py for the running loop; whoever asks closes it.

        Args:
            **options: further arguments of `redis.asyncio.Redis.from_url`.
        """
        from redis.asyncio import Redis  # noqa: PLC0415  (only who asks pays)

        return Redis.from_url(self.url, **options)

    def flush(self) -> None:
        """Empty the database that the tests use.

        Raises:
            RedisUnreachable: it does not answer.
        """
        if self.server is not None:
            if not (answer := self._say(b"FLUSHALL\r\n")).startswith(b"+OK"):
                raise RedisUnreachable(
                    f"Redis refused to be emptied: {answer.decode(errors='replace').strip()}."
                )
            return
        pipe = self.control().pipeline(transaction=True)
        pipe.flushdb()
        if self._owner is not None:
            pipe.set(OWNER_KEY, self._owner)
        pipe.execute()

    def control(self) -> redis.Redis:
        """Give the kit's own client, past any proxy."""
        from redis import Redis  # noqa: PLC0415  (only who asks pays)

        if self._client is None:
            self._client = Redis.from_url(
                self.direct, socket_timeout=_COMMAND_SECONDS, socket_connect_timeout=_COMMAND_SECONDS
            )
        return self._client

    def start(self) -> None:
        """Start it again after `stop` or `kill`; does nothing when it runs or is not ours."""
        if self.server is not None:
            self._backstage.run(self.server.start(), seconds=_START_SECONDS)

    def stop(self) -> None:
        """Shut it down in good order; what it held is there again when it starts."""
        if self.server is not None:
            self._backstage.run(self.server.stop(), seconds=_START_SECONDS)

    def kill(self) -> None:
        """End it with SIGKILL, and leave it down."""
        if self.server is not None:
            self._backstage.run(self._kill(self.server), seconds=_START_SECONDS)

    def answers(self) -> bool:
        """Tell whether it answers now."""
        if self.server is not None:
            try:
                return self._say(b"PING\r\n").startswith(b"+PONG")
            except CosError:
                return False
        from redis.exceptions import RedisError  # noqa: PLC0415  (loaded with the client)

        try:
            return bool(self.control().ping())
        except RedisError:
            return False

    def close(self) -> None:
        """End the kit's client, and the server if it is ours; leave a given database empty."""
        if self.server is not None:
            self.kill()  # nothing in it is worth a farewell
        elif self._owner is not None:
            self.control().flushdb()
        if self._client is not None:
            self._client.close()
            self._client = None

    async def _kill(self, server: EmbeddedRedis) -> None:
        pid = server.pid
        if pid is not None:
            os.kill(pid, signal.SIGKILL)
        await server.stop()

    def _say(self, line: bytes) -> bytes:
        """Send one line to our own server and give its answer, in a tenth of a millisecond and without a library."""
        try:
            with socket.socket(socket.AF_UNIX) as one:
                one.settimeout(_COMMAND_SECONDS)
                one.connect(unquote(urlsplit(self.direct).path))
                one.sendall(line)
                return one.recv(1024)
        except OSError as error:
            raise RedisUnreachable(
                f"The Redis of the tests does not answer ({(error.strerror or str(error)).lower()}); "
                "is a fault still armed? faults.quiet() heals all."
            ) from error


OWNER_KEY: Final = "cos:testing:owner"


def socket_url(path: Path) -> str:
    """Name a Redis behind a unix socket."""
    return f"unix://{quote(str(path))}"
