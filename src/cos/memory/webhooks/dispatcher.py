"""Decides which endpoints this process serves, and sees that each has its courier; a background part.

An endpoint is served by one process at a time: it holds a lease on its row, by Postgres's clock, and stops by its own
clock before another may take it. One look at the log serves all endpoints: only couriers with something to do wake.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID

import structlog

from cos.common import clock
from cos.common.looper import Looper
from cos.errors import CosError
from cos.memory.dead_letters import Redelivery, connected
from cos.memory.position import Position
from cos.memory.webhooks import endpoint as endpoints
from cos.memory.webhooks import sql
from cos.memory.webhooks.courier import Courier

if TYPE_CHECKING:
    from cos.common.pool import Pool
    from cos.memory.follower import Follower
    from cos.memory.webhooks.endpoint import Policy
    from cos.memory.webhooks.ledger import Ledger
    from cos.memory.webhooks.sender import Sender

_log = structlog.get_logger("cos.webhooks")

#: How long an event may wait while no relay of this process rings.
POLL_SECONDS = 0.25
#: How long a change that another process made may wait.
LOOK_SECONDS = 1.0
#: Letters of endpoints that are gone are looked for this often.
_ORPHANS_SECONDS = 10.0
_WINDOW = 1000
#: How long the delivery under way may take when everything stops.
DRAIN_SECONDS = 4.0
_WRITE_SECONDS = 2.0


@dataclass(slots=True)
class _Served:
    courier: Courier
    looper: Looper
    leaving: asyncio.Task[None] | None = None


class Dispatcher:
    """One a process."""

    def __init__(
        self, *, pool: Pool, follower: Follower, sender: Sender, ledger: Ledger, policy: Policy, owner: UUID
    ) -> None:
        """Take what is needed.

        Args:
            pool: to Postgres.
            follower: reads the log for couriers.
            sender: makes tries.
            ledger: keeps what came of them.
            policy: the rules.
            owner: under which this process holds its endpoints, as the ledger knows it.
        """
        self.wake: Callable[[], None] = lambda: None
        self._pool = pool
        self._follower = follower
        self._sender = sender
        self._ledger = ledger
        self._policy = policy
        self._owner = owner
        # Often enough that a lease is renewed in time, also when one look is late.
        self._look_seconds = min(LOOK_SECONDS, policy.lease_seconds / 5)
        self._served: dict[UUID, _Served] = {}
        self._seen: Position | None = None
        self._look_at = float("-inf")
        self._orphans_at = float("-inf")

    @property
    def couriers(self) -> dict[UUID, Courier]:
        """Give the couriers that are at work, by endpoint."""
        return {key: one.courier for key, one in self._served.items() if one.leaving is None}

    def changed(self) -> None:
        """Hear that endpoints or letters have changed: look at once."""
        self._look_at = float("-inf")
        self.wake()

    async def turn(self) -> float:
        """Look at the endpoints when that is due, and at what is new in the log.

        Raises:
            CosError: Postgres does not answer; couriers go on as long as their endpoints are held for sure.
        """
        if clock.monotonic() >= self._look_at:
            await self._look()
            self._look_at = clock.monotonic() + self._look_seconds
        if not self._served:
            self._seen = None
            return self._look_seconds
        return 0.0 if await self._heads() else POLL_SECONDS

    async def close(self) -> None:
        """Let every courier end the delivery under way, write what there is, and give the endpoints back."""
        for key in list(self._served):
            self._let_go(key)
        leaving = [one.leaving for one in self._served.values() if one.leaving is not None]
        if leaving:
            _, late = await asyncio.wait(leaving, timeout=DRAIN_SECONDS + _WRITE_SECONDS)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        for one in self._served.values():
            await one.looper.stop()
        self._served.clear()

    async def _look(self) -> None:
        asked_at = clock.monotonic()
        async with connected(self._pool) as connection:
            await connection.execute(sql.CLAIM, self._owner, self._policy.lease_seconds)
            rows = await connection.fetch(sql.OWNED, self._owner)
            if clock.monotonic() >= self._orphans_at:
                await connection.execute(sql.ORPHANED_LETTERS)
                self._orphans_at = clock.monotonic() + _ORPHANS_SECONDS
        for key in self._served.keys() - {row["id"] for row in rows}:
            self._let_go(key)
        if rows and self._seen is None:
            # Before the first courier begins: what settles later is seen by `_heads`, what was there by each itself.
            self._seen = await self._follower.top()
        for row in rows:
            self._serve(row, asked_at)
        await self._look_for_letters()

    def _serve(self, row: Any, asked_at: float) -> None:
        """See that an endpoint of ours has a courier that knows it as it is."""
        known = self._served.get(row["id"])
        if known is not None and (known.leaving is not None or known.courier.account.lost):
            self._let_go(row["id"])
            return
        if known is not None and known.courier.endpoint.epoch != row["epoch"]:
            self._let_go(row["id"])
            return
        try:
            endpoint = endpoints.read(row)
        except CosError as error:
            _log.error("webhook_unreadable", webhook=str(row["id"]), error=error.detail)
            return
        if known is None:
            known = self._start(endpoint)
        known.courier.endpoint.secrets = endpoint.secrets
        rested = known.courier.over
        known.courier.hold(asked_at, row["lease_seconds"])
        if rested:
            known.looper.wake()

    def _start(self, endpoint: endpoints.Endpoint) -> _Served:
        courier = Courier(
            account=self._ledger.open(endpoint),
            policy=self._policy,
            follower=self._follower,
            sender=self._sender,
            ledger=self._ledger,
        )
        courier.redelivery = Redelivery(
            group=endpoint.group,
            pool=self._pool,
            deadline_seconds=self._policy.deadline_seconds,
            handle=courier.redeliver,
        )
        served = _Served(courier, Looper(name=f"webhook:{endpoint.id}", part=courier))
        self._served[endpoint.id] = served
        served.looper.start()
        return served

    def _let_go(self, key: UUID) -> None:
        one = self._served[key]
        if one.leaving is None:
            one.courier.retired = True
            one.looper.wake()
            one.leaving = asyncio.create_task(self._leave(key, one), name=f"webhook:{key}:leaving")

    async def _leave(self, key: UUID, one: _Served) -> None:
        """Wait for the delivery under way, write it down, and give the endpoint back."""
        courier, account = one.courier, one.courier.account
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._policy.deadline_seconds + 1):
                    await courier.resting.wait()
            await one.looper.stop()
            with suppress(TimeoutError):
                async with asyncio.timeout(_WRITE_SECONDS):
                    while account.behind and not account.lost:
                        account.came.clear()
                        self._ledger.wake()
                        await account.came.wait()
            with suppress(CosError, TimeoutError):
                async with asyncio.timeout(_WRITE_SECONDS), connected(self._pool) as connection:
                    await connection.execute(sql.RELEASE, self._owner, [key])
        finally:
            await one.looper.stop()
            if self._served.get(key) is one:
                del self._served[key]
            self.changed()

    async def _look_for_letters(self) -> None:
        groups = {courier.endpoint.group: courier for courier in self.couriers.values()}
        if not groups:
            return
        async with connected(self._pool) as connection:
            found = await connection.fetch(sql.WAITING_LETTERS, list(groups))
        for row in found:
            courier = groups[row["group_name"]]
            courier.letters = True
            self._served[courier.endpoint.id].looper.wake()

    async def _heads(self) -> bool:
        """Wake who wants something of what is new; says whether there may be more."""
        if self._seen is None:
            return False
        before = self._seen
        async with connected(self._pool) as connection:
            rows = await connection.fetch(sql.HEADS, *before, _WINDOW)
        if not rows:
            return False
        self._seen = Position(rows[-1]["xact"], rows[-1]["seq"])
        for one in self._served.values():
            selection = one.courier.endpoint.selection
            if any(selection.takes(row["module"], row["type"], row["subject"]) for row in rows):
                one.looper.wake()
            else:
                one.courier.passed(before, self._seen)
        return len(rows) >= _WINDOW
