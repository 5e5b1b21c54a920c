"""The webhooks of one process: what posts, what keeps account, and which endpoints are served here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from cos.common import ids
from cos.common.addresses import Allowance
from cos.common.looper import Looper
from cos.common.outbound import Outbound, Resolve, system_addresses
from cos.common.pool import Pool
from cos.memory.follower import Follower
from cos.memory.webhooks.dispatcher import Dispatcher
from cos.memory.webhooks.endpoint import Policy, read_pauses
from cos.memory.webhooks.ledger import Ledger
from cos.memory.webhooks.office import Office
from cos.memory.webhooks.sender import Sender

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from cos.config import Settings

_CONNECTIONS = 4


class Webhooks:
    """Serves endpoints over a Postgres that is there; an async context manager.

    Any number of processes may: each endpoint is served by one of them at a time.
    """

    def __init__(
        self,
        *,
        database_url: str,
        policy: Policy,
        allowance: Allowance,
        overlap_seconds: float = 86_400.0,
        ca_file: str | None = None,
        resolve: Resolve = system_addresses,
        recorded: Callable[[], None] = lambda: None,
    ) -> None:
        """Build the parts; nothing connects before the context is entered.

        Args:
            database_url: of the Postgres, migrated already.
            policy: the rules of delivery.
            allowance: which addresses may be called.
            overlap_seconds: how long an exchanged secret signs beside the new one.
            ca_file: certificate authorities that are trusted besides the public ones.
            resolve: looks up names.
            recorded: called when an event was recorded.
        """
        owner = ids.uuid7()
        self._pool = Pool(url=database_url, size=_CONNECTIONS, name="cos webhooks")
        self.outbound = Outbound(
            allowance=allowance, connections=2 * policy.concurrency, ca_file=ca_file, resolve=resolve
        )
        self.sender = Sender(outbound=self.outbound, policy=policy)
        self.ledger = Ledger(
            pool=self._pool, owner=owner, attempts_kept=policy.attempts_kept, recorded=recorded
        )
        self.dispatcher = Dispatcher(
            pool=self._pool,
            follower=Follower(pool=self._pool),
            sender=self.sender,
            ledger=self.ledger,
            policy=policy,
            owner=owner,
        )
        self._writing = Looper(name="webhook ledger", part=self.ledger)
        self._dispatching = Looper(name="webhooks", part=self.dispatcher)
        self.ledger.wake = self._writing.wake
        self.dispatcher.wake = self._dispatching.wake
        self.office = Office(
            outbound=self.outbound,
            sender=self.sender,
            policy=policy,
            overlap_seconds=overlap_seconds,
            changed=self.dispatcher.changed,
        )

    @classmethod
    def of(cls, settings: Settings, *, database_url: str, recorded: Callable[[], None]) -> Self:
        """Build them as the settings say; raises BadSetting."""
        made = cls(
            database_url=database_url,
            policy=Policy(
                retry_seconds=read_pauses(settings.webhook_retry_seconds),
                retry_after_seconds=settings.webhook_retry_after_seconds,
                deadline_seconds=settings.webhook_deadline_seconds,
                disable_seconds=settings.webhook_disable_seconds,
                concurrency=settings.webhook_concurrency,
            ),
            allowance=Allowance.parse(settings.webhook_allow),
            overlap_seconds=settings.webhook_overlap_seconds,
            ca_file=None if settings.webhook_ca_file is None else str(settings.webhook_ca_file),
            recorded=recorded,
        )
        if settings.port:
            made.outbound.own_ports.add(settings.port)
        return made

    def announced(self) -> None:
        """Hear that the relay of this process has moved something."""
        self._dispatching.wake()

    async def __aenter__(self) -> Self:
        """Start serving."""
        self._writing.start()
        self._dispatching.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop: deliveries under way may end, what was delivered is written, the endpoints are given back."""
        await self._dispatching.stop()
        await self.dispatcher.close()
        await self._writing.stop()
        await self.close()

    async def close(self) -> None:
        """Close the connections; all there is to do for who never served."""
        await self.outbound.close()
        await self._pool.close()
