"""The parts of one process: recorder, relay, doorbells, sessions; built here, started in order, stopped in reverse."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING, Any, Self

from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker

from cos.backend.auth.grants import Grants
from cos.backend.cc.health import Keeper
from cos.backend.cc.logging import DOORBELL, LIMITS, TELEMETRY
from cos.backend.deps import Services
from cos.backend.scratch.janitor import Janitor
from cos.common import clock, db
from cos.common import redis as redis_client
from cos.common.circuit_breaker import CircuitBreaker
from cos.common.doorbell import Listener, Ringer
from cos.common.looper import Looper
from cos.common.monitor import Monitor
from cos.common.pool import Pool
from cos.common.session import Session, reading
from cos.infra.disk import Disk
from cos.memory.event import Limits
from cos.memory.feed import Feed
from cos.memory.highway import Highway
from cos.memory.l15_highway import Relay
from cos.memory.recorder import Doorbell, Recorder
from cos.memory.retention import Limits as Lengths
from cos.memory.retention import Retention
from cos.memory.signs import Signs
from cos.memory.standing import Standing
from cos.memory.streams import Streams
from cos.memory.vitals import Gauge
from cos.memory.webhooks.condition import Condition
from cos.runtime.consumers import Consumers
from cos.runtime.modules import Modules, own_health
from cos.runtime.pace import Pace
from cos.runtime.webhooks import Webhooks

if TYPE_CHECKING:
    from types import TracebackType

    from redis.asyncio import Redis

    from cos.common.telemetry import Telemetry
    from cos.config import Settings
    from cos.memory.delivery import Event


class Core:
    """What runs inside one COS process, over a Postgres and a Redis that are there already.

    Use it as an async context manager: entering starts the parts, leaving stops them, last started first.
    """

    def __init__(
        self,
        *,
        settings: Settings,
        database_url: str,
        redis_url: str,
        api: bool = True,
        worker: bool = True,
        highways: Iterable[Highway] = (),
        telemetry: Telemetry | None = None,
        modules: Modules | None = None,
    ) -> None:
        """Build the parts; nothing connects before the context is entered.

        Args:
            settings: of this process.
            database_url: of the Postgres, migrated already.
            redis_url: of the Redis.
            api: whether this process records (sessions and recorder).
            worker: whether this process relays.
            highways: whose subscriptions this process runs.
            telemetry: opens spans; None for none.
            modules: that packages add, migrated already; their subscriptions run where the relay does.
        """
        self.settings = settings
        self.modules = modules or Modules()
        self.telemetry = telemetry
        self.database_url = database_url
        self.redis_url = redis_url
        self._api = api
        self._worker = worker
        self._stack = AsyncExitStack()
        self.redis: Redis = redis_client.create_redis(redis_url)
        self.streams = Streams(redis=self.redis, namespace=settings.redis_namespace)
        self.gauge = Gauge(url=database_url, redis=self.redis, streams=self.streams, redis_url=redis_url)
        self.relay = Relay(
            url=database_url,
            redis=self.redis,
            redis_url=redis_url,
            streams=self.streams,
            batch=settings.relay_batch,
            poll_seconds=settings.relay_poll_seconds,
            announced=self._announced,
            telemetry=telemetry,
        )
        self.relay_looper = Looper(name="relay", part=self.relay)
        self._listener = Looper(
            name="doorbell",
            part=Listener(
                redis=self.redis,
                redis_url=redis_url,
                channel=self.streams.doorbell,
                ring=self.relay_looper.ring,
            ),
        )
        self._ringer = Looper(name="ringer", part=Ringer(redis=self.redis, channel=self.streams.doorbell))
        self.doorbell: Doorbell = self.relay_looper if worker else self._ringer
        self.recorder = Recorder(
            url=database_url,
            doorbell=self.doorbell,
            queue_records=settings.record_queue,
            timeout_seconds=settings.record_timeout_seconds,
        )
        self.engine: AsyncEngine = db.create_engine(database_url, pool_size=settings.db_pool_size)
        self.sessions: async_sessionmaker[AsyncSession] = async_sessionmaker(
            self.engine,
            class_=Session,
            expire_on_commit=False,
            info={
                DOORBELL: self.doorbell,
                LIMITS: Limits(settings.max_data_bytes, settings.max_data_depth),
                TELEMETRY: telemetry,
            },
        )
        self._retention_pool = Pool(url=database_url, size=1, name="cos retention")
        self.retention = Retention(
            pool=self._retention_pool,
            redis=self.redis,
            redis_url=redis_url,
            streams=self.streams,
            limits=Lengths(
                length=settings.stream_length,
                age_seconds=settings.stream_age_seconds,
                hard_length=settings.stream_hard_length,
            ),
        )
        self._retention_looper = Looper(name="retention", part=self.retention)
        self.consumers = Consumers(
            highways=[*highways, *(self.modules.highways if worker else ())],
            database_url=database_url,
            redis_url=redis_url,
            namespace=settings.redis_namespace,
            sessions=self.sessions,
            around=None if telemetry is None else partial(_handled, telemetry),
        )
        self.webhooks = Webhooks.of(settings, database_url=database_url, recorded=self._rung)
        self.grants = Grants(sessions=self.sessions)
        self._grants_looper = Looper(name="grants", part=self.grants)
        self.breaker = CircuitBreaker(name="Redis", failures=redis_client.LOST)
        self.janitor = Janitor(sessions=self.sessions, settings=settings)
        self._janitor_looper = Looper(name="janitor", part=self.janitor)
        self.feed = Feed(url=database_url)
        self._feed_looper = Looper(name="feed", part=self.feed)
        self.feed.wake = self._feed_looper.wake
        # What another process's relay announces is heard on the live channels.
        self._live = Looper(
            name="live",
            part=Listener(
                redis=self.redis,
                redis_url=redis_url,
                channel=self.streams.channel("*"),
                ring=self._feed_looper.ring,
            ),
        )
        self.signs = Signs(gauge=self.gauge, breaker=self.breaker, moved=lambda: self.relay.moved)
        self.monitor = Monitor(
            sources=[self.signs, Standing(sessions=self.sessions), Condition(sessions=self.sessions), Pace()]
        )
        self._watch = Looper(name="monitor", part=self.monitor)
        self._keeper = Looper(name="keeper", part=Keeper(sessions=self.sessions, monitor=self.monitor))
        self.monitor.watch(self.modules)
        for source in own_health(self.modules, self.sessions):
            self.monitor.watch(source)
        if settings.data_dir.is_dir():
            self.monitor.watch(Disk(folder=settings.data_dir))

    def services(self) -> Services:
        """Give what the API's routes use."""
        return Services(
            settings=self.settings,
            sessions=self.sessions,
            reads=reading(self.engine),
            recorder=self.recorder,
            doorbell=self.doorbell,
            redis=self.redis,
            redis_url=self.redis_url,
            streams=self.streams,
            breaker=self.breaker,
            gauge=self.gauge,
            signs=self.signs,
            monitor=self.monitor,
            janitor=self._ask_janitor,
            feed=self.feed,
            webhooks=self.webhooks.office,
            in_flight=lambda: sum(one.work.running for one in self.consumers.subscribers.values()),
            telemetry=self.telemetry,
            grants=self.grants,
            started_at_seconds=clock.monotonic(),
            modules=tuple(one.module for one in self.modules.running if one.module is not None),
            module_settings={one.name: one.settings for one in self.modules.running},
        )

    def _announced(self) -> None:
        """Pass on that the relay has moved something."""
        self.consumers.announced()
        self._feed_looper.wake()
        self.webhooks.announced()

    def _rung(self) -> None:
        self.doorbell.ring()

    def reload(self) -> None:
        """Take over what has changed in the settings and is kept elsewhere too."""
        limits = Limits(self.settings.max_data_bytes, self.settings.max_data_depth)
        self.sessions.configure(info={**self.sessions.kw["info"], LIMITS: limits})

    def _ask_janitor(self, what: str) -> None:
        self.janitor.ask(what)
        self._janitor_looper.wake()

    async def __aenter__(self) -> Self:
        """Start the parts."""
        try:
            self._stack.push_async_callback(self.redis.aclose)
            self._stack.push_async_callback(self.engine.dispose)
            if self._worker:
                self._stack.push_async_callback(self.relay.close)
                self._stack.push_async_callback(self.relay_looper.stop)
                self.relay_looper.start()
                self._stack.push_async_callback(self._retention_pool.close)
                self._stack.push_async_callback(self._retention_looper.stop)
                self._retention_looper.start()
                self._stack.push_async_callback(self._listener.stop)
                self._listener.start()
            if self._worker:
                await self._stack.enter_async_context(self.webhooks)
            else:
                self._stack.push_async_callback(self.webhooks.close)
            await self._stack.enter_async_context(self.consumers)
            self._stack.push_async_callback(self.gauge.close)
            self._stack.push_async_callback(self.monitor.close)
            self._stack.push_async_callback(self._watch.stop)
            self._watch.start()
            if self._api:
                if not self._worker:
                    self._stack.push_async_callback(self._ringer.stop)
                    self._ringer.start()
                self._stack.push_async_callback(self.recorder.stop)
                await self.recorder.start()
                self._stack.push_async_callback(self.grants.close)
                self._stack.push_async_callback(self.feed.close)
                listening = () if self._worker else (self._live,)
                serving = (self._janitor_looper, self._keeper, self._grants_looper, self._feed_looper)
                for looper in (*serving, *listening):
                    self._stack.push_async_callback(looper.stop)
                    looper.start()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop them, last started first."""
        await self._stack.aclose()


def _handled(telemetry: Telemetry, group: str, events: Sequence[Event[Any]]) -> AbstractContextManager[Any]:
    """Open the span of one call of a handler, under the (first) event's own trace."""
    return telemetry.span(
        f"handle {group}",
        parent=events[0].envelope.traceparent,
        kind="consumer",
        attributes={"cos.group": group, "cos.events": len(events)},
    )
