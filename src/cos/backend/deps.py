"""What every feature's routes are given: the services of this process, and a transaction a request."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import Depends, Request, Response
from fastapi.routing import APIRoute
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession, async_sessionmaker
from starlette.types import Message

from cos.backend.auth.grants import Grants
from cos.backend.module import Module
from cos.common.circuit_breaker import CircuitBreaker
from cos.common.monitor import Monitor
from cos.config import Settings
from cos.errors import TooLarge
from cos.memory.event import Limits
from cos.memory.feed import Feed
from cos.memory.recorder import Doorbell, Recorder
from cos.memory.signs import Signs
from cos.memory.streams import Streams
from cos.memory.vitals import Gauge
from cos.memory.webhooks.office import Office

if TYPE_CHECKING:
    from cos.common.telemetry import Telemetry


@dataclass(frozen=True, kw_only=True)
class Services:
    """What `cos.runtime` builds and the routes use.

    Attributes:
        settings: of this process.
        sessions: makes a session; nothing in a feature commits, the request's edge does.
        reads: connects for what only reads.
        recorder: for events in transactions of their own.
        doorbell: rung when something was committed.
        redis: client for reads and pings.
        redis_url: of that client, named in messages.
        streams: names and reads the streams.
        breaker: guards `redis`.
        gauge: measures the log, the streams and the lag.
        signs: what was last measured of Postgres, Redis and the relay.
        monitor: measures the health of every part, and keeps what it measured.
        janitor: asks for work on the scratch notes in the background, `cleanup` or `stats`.
        feed: hands the log to who follows it live.
        webhooks: judges addresses and makes tries for the routes of webhooks.
        in_flight: tells how many events this process's handlers work on.
        telemetry: opens spans; None when none are wanted.
        grants: finds who is behind a token or a session.
        started_at_seconds: monotonic time at which this process began to serve.
        modules: that packages add, and that run.
        module_settings: their own settings, by name.
    """

    settings: Settings
    sessions: async_sessionmaker[AsyncSession]
    reads: AsyncEngine
    recorder: Recorder
    doorbell: Doorbell
    redis: Redis
    redis_url: str
    streams: Streams
    breaker: CircuitBreaker
    gauge: Gauge
    signs: Signs
    monitor: Monitor
    janitor: Callable[[str], None]
    in_flight: Callable[[], int]
    feed: Feed
    telemetry: Telemetry | None
    webhooks: Office
    grants: Grants
    started_at_seconds: float
    modules: tuple[Module, ...] = ()
    module_settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def limits(self) -> Limits:
        """Give how large an event may be."""
        return Limits(self.settings.max_data_bytes, self.settings.max_data_depth)


def services_of(request: Request) -> Services:
    """Give the services of the app that serves this request."""
    services: Services = request.app.state.services
    return services


async def get_services(request: Request) -> Services:
    """Give them as a dependency; one that is no coroutine would be called in a thread, at a tenth of a millisecond."""
    return services_of(request)


ServicesDep = Annotated[Services, Depends(get_services)]


#: Under this name a request's scope holds an event that is set when the server stops.
STOPPING = "cos.stopping"


async def stops_within(request: Request, seconds: float) -> bool:
    """Wait so long, or until the server stops; an answer without an end asks this between its parts.

    Returns:
        Whether the server stops, so that the answer must end.
    """
    stopping: asyncio.Event | None = request.scope.get(STOPPING)
    if stopping is None:
        await asyncio.sleep(seconds)
        return False
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await stopping.wait()
    return stopping.is_set()


async def read_body(request: Request) -> bytes:
    """Read the whole body; raises TooLarge as soon as it is larger than the settings allow."""
    most = services_of(request).settings.max_body_bytes
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > most:
            raise TooLarge(f"The body is larger than {most} bytes; send many events as a stream of lines.")
    return bytes(body)


class BoundedRoute(APIRoute):
    """A route whose body FastAPI reads: only after it was found to be within the limit."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Put the reading before FastAPI's own, which takes any error of it for one of the JSON."""
        handle = super().get_route_handler()
        if self.body_field is None:
            return handle  # FastAPI reads none

        async def bounded(request: Request) -> Response:
            body = await read_body(request)

            async def replay() -> Message:
                return {"type": "http.request", "body": body, "more_body": False}

            return await handle(Request(request.scope, replay))

        return bounded


@asynccontextmanager
async def transaction(services: Services) -> AsyncIterator[AsyncSession]:
    """Give a session whose one transaction commits when the request's work is done, or rolls back if it failed."""
    async with services.sessions() as session, session.begin():
        yield session


async def get_reading(services: ServicesDep) -> AsyncIterator[AsyncConnection]:
    """Give a connection that only reads, each statement for itself; it refuses to write."""
    connection = await services.reads.connect()
    try:
        yield connection
    finally:
        await connection.close()  # nothing to wait for, where nothing was begun


#: For routes that change nothing: a third of the round trips of a transaction, and half of its work.
ReadDb = Annotated[AsyncConnection, Depends(get_reading, scope="function")]
