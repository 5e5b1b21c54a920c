"""A reader of the live feed, which comes back after every cut and says with which position."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import httpx


class FeedReader:
    """Follows `GET /events/stream` from a position on; keeps the position of each event, as they came."""

    def __init__(self, *, port: int, since: str) -> None:
        self.positions: list[str] = []
        self.connections = 0
        self._url = f"http://127.0.0.1:{port}/events/stream"
        self._since = since
        self._task: asyncio.Task[None] | None = None
        self._once: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to follow."""
        self._task = asyncio.get_running_loop().create_task(self._run(), name="chaos:reader")

    async def stop(self) -> None:
        """End."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    def leave(self) -> None:
        """Hang up; the reader comes back by itself."""
        if self._once is not None:
            self._once.cancel()

    async def _run(self) -> None:
        while True:
            self._once = asyncio.get_running_loop().create_task(self._follow(), name="chaos:reader:once")
            try:
                await asyncio.wait([self._once])
            finally:
                self._once.cancel()
            error = None if self._once.cancelled() else self._once.exception()
            if error is not None and not isinstance(error, httpx.HTTPError | TimeoutError | AttributeError):
                raise error
            await asyncio.sleep(0.05)  # house: sleep (a client's pause before it comes back)

    async def _follow(self) -> None:
        limits = httpx.Timeout(5.0, read=40.0)
        async with (
            httpx.AsyncClient(timeout=limits, trust_env=False) as client,
            client.stream("GET", self._url, headers={"Last-Event-ID": self._since}) as answer,
        ):
            if answer.status_code != 200:
                return
            self.connections += 1
            position, has_data = "", False
            with suppress(httpx.RemoteProtocolError):
                async for line in answer.aiter_lines():
                    if line.startswith("id: "):
                        position = line[4:]
                    elif line.startswith("data: "):
                        has_data = True
                    elif not line:
                        if (
                            position and has_data
                        ):  # an id alone only moves the place; data alone is a farewell
                            self.positions.append(position)
                        self._since = position or self._since
                        position, has_data = "", False
