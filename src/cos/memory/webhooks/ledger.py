"""Writes down how far the endpoints of a process are and what was tried, for all of them in one commit.

A delivery does not wait for its commit: the next one is under way meanwhile, up to a bound. So what `kill -9` makes
come twice is what was delivered during one commit, at most `MOST_UNWRITTEN` events of an endpoint, with the same ids.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

import asyncpg
import structlog

from cos.common import clock, ids
from cos.memory import highway_sql
from cos.memory import sql as log_sql
from cos.memory.dead_letters import connected, storable
from cos.memory.event import new_event
from cos.memory.l1_log import row_of
from cos.memory.webhooks import sql

if TYPE_CHECKING:
    from collections.abc import Callable

    from cos.common.pool import Pool
    from cos.memory.follower import Entry
    from cos.memory.webhooks.endpoint import Endpoint
    from cos.memory.webhooks.sender import Outcome

_log = structlog.get_logger("cos.webhooks")

#: Deliveries of one endpoint whose commit is awaited.
MOST_UNWRITTEN = 50
#: What comes within this goes into one commit.
GATHER_SECONDS = 0.01
#: What is not pressing is written about this often.
REST_SECONDS = 5.0
_MAX_ERROR = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One try, as it is kept."""

    endpoint_id: UUID
    event_id: UUID
    position: str | None
    type: str
    number: int
    outcome: Outcome
    at: datetime
    id: UUID = field(default_factory=ids.uuid7)

    def row(self) -> tuple[Any, ...]:
        """Give it as the columns of its table."""
        one = self.outcome
        error = None if one.error is None else storable(one.error)[:_MAX_ERROR]
        return (
            self.id,
            self.endpoint_id,
            self.event_id,
            self.position,
            self.type,
            self.number,
            one.delivered,
            one.status,
            error,
            one.milliseconds,
            self.at,
        )


class Account:
    """One endpoint in the ledger, from when this process took it until it lets go of it.

    Attributes:
        endpoint: as it stands in memory; its owner changes it and then says so with `Ledger.note`.
        lost: another process has it now, or a person has changed it: nothing of this account counts any more.
    """

    def __init__(self, endpoint: Endpoint, *, kept: int) -> None:
        """Open it with nothing to write."""
        self.endpoint = endpoint
        self.lost = False
        self.attempts: deque[Attempt] = deque(maxlen=kept)
        self.noted = 0
        self.written = 0
        self.unpruned = kept  # what an earlier process left is not known
        self.came = asyncio.Event()

    @property
    def behind(self) -> int:
        """Count what is noted and not written."""
        return self.noted - self.written


class Ledger:
    """A background part (see `cos.common.looper`); one a process."""

    def __init__(
        self, *, pool: Pool, owner: UUID, attempts_kept: int, recorded: Callable[[], None] = lambda: None
    ) -> None:
        """Take what is needed.

        Args:
            pool: to Postgres.
            owner: under which this process holds its endpoints.
            attempts_kept: of each endpoint.
            recorded: called when an event was recorded.
        """
        self.wake: Callable[[], None] = lambda: None
        self._pool = pool
        self._owner = owner
        self._kept = attempts_kept
        self._recorded = recorded
        self._dirty: dict[Account, None] = {}

    def open(self, endpoint: Endpoint) -> Account:
        """Begin to write for an endpoint."""
        return Account(endpoint, kept=self._kept)

    def note(self, account: Account, attempt: Attempt | None = None, *, pressing: bool = True) -> None:
        """Have an account written; not pressing: soon enough with the others."""
        if attempt is not None:
            account.attempts.append(attempt)
            account.unpruned += 1
        account.noted += 1
        self._dirty[account] = None
        if pressing:
            self.wake()

    async def room(self, account: Account) -> None:
        """Wait while too much of an account is unwritten."""
        while account.behind >= MOST_UNWRITTEN and not account.lost:
            account.came.clear()
            await account.came.wait()

    async def turn(self) -> float:
        """Write what is noted.

        Raises:
            CosError: Postgres does not answer; nothing is forgotten, the next turn tries again.
        """
        if not self._dirty:
            return REST_SECONDS
        await asyncio.sleep(GATHER_SECONDS)
        accounts = sorted(self._dirty, key=lambda one: one.endpoint.id)
        noted = [account.noted for account in accounts]
        # The driver reads its arguments before it first waits, so what is noted meanwhile is not in this batch.
        attempts = [list(account.attempts) for account in accounts]
        rows = [attempt.row() for some in attempts for attempt in some]
        columns = [list(column) for column in zip(*(_row(one.endpoint) for one in accounts), strict=True)]
        tried = [list(column) for column in zip(*rows, strict=True)] or [[] for _ in range(11)]
        async with connected(self._pool) as connection:
            try:
                found = await connection.fetch(sql.WRITE, self._owner, *columns, *tried)
            except asyncpg.ForeignKeyViolationError:
                return 0.0
        ours = {row["id"] for row in found}
        for account, number, some in zip(accounts, noted, attempts, strict=True):
            account.written = number
            account.lost = account.lost or account.endpoint.id not in ours
            while some and account.attempts and account.attempts[0].id <= some[-1].id:
                account.attempts.popleft()
            if account.noted == number or account.lost:
                self._dirty.pop(account, None)
            account.came.set()
        await self._prune([account for account in accounts if account.unpruned > self._kept])
        return 0.0 if self._dirty else REST_SECONDS

    async def bury(self, account: Account, entry: Entry, error: str) -> None:
        """Make the event a dead letter and move on behind it, both or neither; nothing if the account is lost.

        Raises:
            CosError: Postgres does not answer.
        """
        endpoint, now = account.endpoint, clock.now()
        letter = (
            ids.uuid7(),
            endpoint.group,
            0,
            entry.module,
            *entry.position,
            entry.type,
            entry.subject,
            entry.event.decode(),
            storable(error),
            "",
            max(endpoint.tries, 1),
            now,
        )
        async with connected(self._pool) as connection, connection.transaction():
            if await connection.fetchval(sql.HOLD, endpoint.id, self._owner, endpoint.epoch) is None:
                account.lost = True
                return
            await connection.execute(highway_sql.BURY, *letter)
            await connection.execute(
                sql.BURIED,
                endpoint.id,
                *entry.position,
                endpoint.buried + 1,
                endpoint.failing_since,
                endpoint.failures,
                _shortened(endpoint.error),
            )
        endpoint.position, endpoint.tries, endpoint.next_try_at = entry.position, 0, None
        endpoint.buried += 1
        self.note(account, pressing=False)
        _log.error(
            "dead_letter",
            group=endpoint.group,
            module=entry.module,
            position=str(entry.position),
            error=error[:300],
        )

    async def disable(self, account: Account, reason: str) -> None:
        """Disable the endpoint and record that, both or neither; nothing if the account is lost.

        Raises:
            CosError: Postgres does not answer.
        """
        endpoint, now = account.endpoint, clock.now()
        async with connected(self._pool) as connection, connection.transaction():
            url = await connection.fetchval(
                sql.DISABLE,
                endpoint.id,
                self._owner,
                endpoint.epoch,
                storable(reason)[:_MAX_ERROR],
                now,
                endpoint.tries,
                endpoint.failing_since,
                endpoint.failures,
                _shortened(endpoint.error),
            )
            account.lost = True
            if url is None:
                return
            data = {"id": str(endpoint.id), "url": url, "state": "disabled", "reason": reason}
            event = new_event(
                type="webhook.disabled", module="cc", subject=str(endpoint.id), data=data, level="warning"
            )
            await connection.execute(log_sql.INSERT_ONE, *row_of(event))
        self._recorded()
        _log.warning("webhook_disabled", webhook=str(endpoint.id), reason=reason[:300])

    async def _prune(self, accounts: list[Account]) -> None:
        if not accounts:
            return
        chosen = [account.endpoint.id for account in accounts]
        async with connected(self._pool) as connection:
            await connection.execute(sql.PRUNE_ATTEMPTS, chosen, self._kept)
        for account in accounts:
            account.unpruned = 0


def _row(one: Endpoint) -> tuple[Any, ...]:
    return (
        one.id,
        one.epoch,
        str(one.position.xact),
        one.position.seq,
        one.tries,
        one.next_try_at,
        one.failing_since,
        one.failures,
        _shortened(one.error),
        one.delivered,
        one.last_delivered_at,
    )


def _shortened(error: str | None) -> str | None:
    return None if error is None else storable(error)[:_MAX_ERROR]
