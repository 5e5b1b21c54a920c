"""What the embedded servers have in common: each is told of, and ended, by its process."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

    from cos.infra.process import ServerProcess
    from cos.infra.server import ServerState


class EmbeddedServer:
    """A server of our own; whoever derives from it makes the process and says how it starts."""

    _process: ServerProcess

    @property
    def state(self) -> ServerState:
        """What it is doing now."""
        return self._process.state

    @property
    def pid(self) -> int | None:
        """Give the server's process id, None while there is none."""
        return self._process.pid

    @property
    def started_at(self) -> datetime | None:
        """When it last became ready."""
        return self._process.started_at

    @property
    def restarts(self) -> int:
        """How often it has died unasked since `start`."""
        return self._process.restarts

    @property
    def last_exit(self) -> str | None:
        """How it last ended, in words."""
        return self._process.last_exit
