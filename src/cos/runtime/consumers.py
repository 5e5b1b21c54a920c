"""The consumers of one process: for each subscription its subscriber, keeper and redelivery, started and stopped."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Self

from cos.common import redis as redis_client
from cos.common.looper import Looper
from cos.common.pool import Pool
from cos.common.subscriber import Subscriber
from cos.memory.bodies import Bodies
from cos.memory.dead_letters import Graveyard, Redelivery
from cos.memory.desk import Around, EventDesk
from cos.memory.directory import Directory
from cos.memory.highway import Highway, Subscription
from cos.memory.log_source import LogSource
from cos.memory.projector import Projector
from cos.memory.streams import Streams

if TYPE_CHECKING:
    from types import TracebackType

    from redis.asyncio import Redis

    from cos.memory.delivery import Sessions

#: Connections to Postgres that all groups share; each projection may hold one more.
_CONNECTIONS = 4


class Consumers:
    """Runs what some highways list, over a Postgres and a Redis that are there; an async context manager.

    Any program may use it: the groups' work is then shared with every other process that runs the same groups.
    """

    def __init__(
        self,
        *,
        highways: Iterable[Highway],
        database_url: str,
        redis_url: str,
        namespace: str = "mem0",
        sessions: Sessions | None = None,
        around: Around | None = None,
    ) -> None:
        """Build the parts; nothing connects before the context is entered.

        Args:
            highways: whose subscriptions are run.
            database_url: of the Postgres, migrated already.
            redis_url: of the Redis.
            namespace: first part of each key, `COS_REDIS_NAMESPACE`.
            sessions: makes the session of a handler that takes one.
            around: entered around each call of a handler.

        Raises:
            BadSetting: two subscriptions have the same group.
        """
        self.subscribers: dict[str, Subscriber] = {}
        self.projectors: dict[str, Projector] = {}
        self._projecting: list[Looper] = []
        highways = list(highways)
        projections = sum(len(one.projections) for one in highways)
        self._pool = Pool(url=database_url, size=_CONNECTIONS + projections, name="cos consumers")
        self._redis: Redis = redis_client.create_redis(redis_url)
        self._streams = Streams(redis=self._redis, namespace=namespace)
        self._directory = Directory(pool=self._pool)
        everything = Highway()
        for highway in highways:
            for subscription in highway.subscriptions:
                everything.add(subscription)
            for projection in highway.projections:
                everything.add_projection(projection)
        self._loopers = [
            looper
            for subscription in everything.subscriptions
            for looper in self._parts(subscription, redis_url, sessions, around)
        ]
        self.bodies = Bodies(redis=self._redis, streams=self._streams)
        for projection in everything.projections:
            projector = Projector(projection=projection, pool=self._pool, bodies=self.bodies)
            self.projectors[projection.name] = projector
            looper = Looper(name=f"projection:{projection.name}", part=projector)
            self._projecting.append(looper)
        self._loopers += self._projecting

    def _parts(
        self, subscription: Subscription, redis_url: str, sessions: Sessions | None, around: Around | None
    ) -> Sequence[Looper]:
        group = subscription.group
        source = LogSource(
            group=group,
            modules=subscription.modules,
            begin=subscription.begin,
            definition=subscription.describe(),
            directory=self._directory,
            pool=self._pool,
            streams=self._streams,
        )
        desk = EventDesk(subscription=subscription, sessions=sessions, around=around)
        subscriber = Subscriber(
            name=group,
            redis=self._redis,
            redis_url=redis_url,
            gaps=self._streams.gaps(group),
            source=source,
            desk=desk,
            graves=Graveyard(group=group, pool=self._pool, source=source),
            policy=subscription.policy,
        )
        self.subscribers[group] = subscriber
        keeper = Looper(name=f"keeper:{group}", part=subscriber.keeper)
        subscriber.keeper.rung_by(keeper.ring)
        redelivery = Redelivery(
            group=group,
            pool=self._pool,
            deadline_seconds=subscription.policy.deadline_seconds,
            handle=desk.handle_one,
        )
        return (
            keeper,
            Looper(name=f"redelivery:{group}", part=redelivery),
            Looper(name=f"subscriber:{group}", part=subscriber),
        )

    def announced(self) -> None:
        """Hear that the relay of this process has moved something: projections need not wait for their poll."""
        for looper in self._projecting:
            looper.wake()

    async def __aenter__(self) -> Self:
        """Start the parts."""
        for looper in self._loopers:
            looper.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop them: calls under way are finished within their group's limit, what is held is given back."""
        for subscriber in self.subscribers.values():
            subscriber.retire()
        try:
            # Side by side: a group whose calls take their time must not hold up the others.
            await asyncio.gather(*(looper.stop() for looper in self._loopers))
            await asyncio.gather(*(subscriber.close() for subscriber in self.subscribers.values()))
        finally:
            await self.bodies.close()
            await self._pool.close()
            await self._redis.aclose()
