"""The Docker Engine API over its socket, as far as faults need it."""

from __future__ import annotations

import json
import socket
from typing import Any, Final
from urllib.parse import quote, urlsplit

from cos.testing.guard.wound import Refused

_SECONDS: Final = 30.0


class EngineAway(Refused):
    """No engine answers."""


class Engine:
    """One Docker engine; every call is a connection of its own."""

    def __init__(self, address: str) -> None:
        """Name the engine.

        Args:
            address: `unix:///path`, or `tcp://host:port` without TLS.

        Raises:
            Refused: the address is neither.
        """
        parts = urlsplit(address)
        self.address = address
        if parts.scheme == "unix" and parts.path:
            self._place: str | tuple[str, int] = parts.path
        elif parts.scheme == "tcp" and parts.hostname and parts.port:
            self._place = (parts.hostname, parts.port)
        else:
            raise Refused(
                f"The Docker engine's address {address!r} cannot be used: write it as unix:///path/to/docker.sock "
                "or tcp://host:port."
            )

    def call(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Give the status and the decoded answer of a request.

        Raises:
            EngineAway: it does not answer, or does not let this account in; one sentence with the way out.
        """
        try:
            return self._call(method, path, body)
        except PermissionError as error:
            raise EngineAway(
                f"This account may not use the Docker engine at {self.address}: add it to the group docker "
                "(sudo usermod -aG docker $USER) and log in anew, or run a rootless engine."
            ) from error
        except (OSError, ValueError) as error:
            raise EngineAway(
                f"No Docker engine answers at {self.address} ({error}): start Docker, "
                "or name its socket in DOCKER_HOST or cos_docker_host."
            ) from error

    def container(self, name: str) -> dict[str, Any]:
        """Inspect a container.

        Raises:
            Refused: there is none; names those that run.
        """
        status, found = self.call("GET", f"/containers/{quote(name, safe='')}/json")
        if status == 200:  # noqa: PLR2004
            return dict(found)
        _, running = self.call("GET", "/containers/json")
        names = ", ".join(sorted(one["Names"][0].lstrip("/") for one in running or [])) or "none"
        raise Refused(f"There is no container {name!r}; running are: {names}.")

    def _call(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        text = b"" if body is None else json.dumps(body).encode()
        # HTTP/1.0: the answer ends with the connection and never comes in chunks.
        head = (
            f"{method} {path} HTTP/1.0\r\nHost: docker\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(text)}\r\n\r\n"
        )
        with self._connect() as connection:
            connection.sendall(head.encode() + text)
            answer = b"".join(iter(lambda: connection.recv(65536), b""))
        first, _, rest = answer.partition(b"\r\n")
        words = first.split()
        if len(words) < 2 or not words[0].startswith(b"HTTP/"):  # noqa: PLR2004
            raise ValueError(f"it said {first[:80]!r}")
        content = rest.partition(b"\r\n\r\n")[2]
        return int(words[1]), json.loads(content) if content.strip() else None

    def _connect(self) -> socket.socket:
        if not isinstance(self._place, str):
            return socket.create_connection(self._place, _SECONDS)
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.settimeout(_SECONDS)
            connection.connect(self._place)
        except BaseException:
            connection.close()
            raise
        return connection
