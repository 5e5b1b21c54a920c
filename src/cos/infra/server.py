"""What every server looks like to the rest of COS, embedded or given."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from datetime import datetime

ServerState = Literal["stopped", "starting", "running", "restarting", "failed", "external"]
"""Who moves it: `start` (stopped → starting → running or failed), the supervisor (running ⇄ restarting) and
`stop` (→ stopped). `external` never moves."""


class Server(Protocol):
    """A Postgres or Redis that COS uses."""

    @property
    def url(self) -> str:
        """Where clients connect."""
        ...

    @property
    def state(self) -> ServerState:
        """What it is doing now."""
        ...

    @property
    def pid(self) -> int | None:
        """Give the server's process id, None while there is no process of ours."""
        ...

    @property
    def started_at(self) -> datetime | None:
        """When it last became ready, aware and in UTC; None before."""
        ...

    @property
    def restarts(self) -> int:
        """How often it has died unasked since `start`."""
        ...

    @property
    def last_exit(self) -> str | None:
        """How it last ended, in words; None when it never has."""
        ...

    async def start(self) -> None:
        """Return when it answers."""
        ...

    async def stop(self) -> None:
        """Return when it has ended."""
        ...


class ExternalServer:
    """A server that somebody else runs: COS connects to it and never starts or stops it."""

    def __init__(self, *, url: str) -> None:
        """Stand for the server at `url`, which may hold a password and is therefore never shown by repr."""
        self._url = url

    @property
    def url(self) -> str:
        """The URL as given."""
        return self._url

    @property
    def state(self) -> ServerState:
        """Always `external`."""
        return "external"

    @property
    def pid(self) -> int | None:
        """Always None: the process is not ours."""
        return None

    @property
    def started_at(self) -> datetime | None:
        """Always None: COS did not start it."""
        return None

    @property
    def restarts(self) -> int:
        """Always 0."""
        return 0

    @property
    def last_exit(self) -> str | None:
        """Always None."""
        return None

    async def start(self) -> None:
        """Do nothing."""

    async def stop(self) -> None:
        """Do nothing."""
