"""Delivers one endpoint's events, one after the other in the order of the log; a background part.

The place in the log is the only queue: an event that is not taken is tried again until it is a dead letter, and the
events behind it wait. What is committed is only ever behind what was delivered, so a process that is killed anywhere
leads to an event that comes twice, never to one that does not come.
"""

from __future__ import annotations

import asyncio
from collections import deque
from datetime import timedelta
from typing import TYPE_CHECKING

import structlog

from cos.common import clock, ids, messages
from cos.memory.webhooks.ledger import Attempt

if TYPE_CHECKING:
    from uuid import UUID

    from cos.common.subscriber_policy import Message
    from cos.memory.dead_letters import Redelivery
    from cos.memory.follower import Entry, Follower
    from cos.memory.position import Position
    from cos.memory.webhooks.endpoint import Endpoint, Policy
    from cos.memory.webhooks.ledger import Account, Ledger
    from cos.memory.webhooks.sender import Outcome, Sender

_log = structlog.get_logger("cos.webhooks")

#: The dispatcher wakes a courier that has something to do; this is for what it may have missed.
IDLE_SECONDS = 15.0
#: A process that was frozen or cut off from Postgres stops this much before another may take over.
_MARGIN = 0.25


class NotTaken(Exception):
    """The endpoint did not take a requeued event; the text says why."""


class Courier:
    """Serves one endpoint while this process holds it."""

    def __init__(
        self,
        *,
        account: Account,
        policy: Policy,
        follower: Follower,
        sender: Sender,
        ledger: Ledger,
    ) -> None:
        """Take what is needed.

        Args:
            account: of the endpoint.
            policy: the rules.
            follower: reads the log.
            sender: makes tries.
            ledger: keeps what came of them.
        """
        self.account = account
        self.redelivery: Redelivery | None = None
        self.letters = False
        self.retired = False
        self.resting = asyncio.Event()
        self.resting.set()
        self._policy = policy
        self._follower = follower
        self._sender = sender
        self._ledger = ledger
        self._queue: deque[Entry] = deque()
        self._read = account.endpoint.position
        self._at_end = False
        self._held_until = float("-inf")
        self._due = clock.monotonic() + self._left_of_pause()

    @property
    def endpoint(self) -> Endpoint:
        """Give the endpoint as it stands."""
        return self.account.endpoint

    @property
    def over(self) -> bool:
        """Whether nothing must be sent: let go of, lost, or not held for sure."""
        return self.retired or self.account.lost or clock.monotonic() >= self._held_until

    def hold(self, asked_at: float, lease_seconds: float) -> None:
        """Hear that the endpoint is ours, so long from when that was asked (monotonic seconds)."""
        self._held_until = asked_at + lease_seconds * (1 - _MARGIN)

    def passed(self, before: Position, position: Position) -> None:
        """Hear that nothing wanted lies between two positions; counts only for who has read up to the first."""
        if self.resting.is_set() and not self._queue and self._at_end and before <= self._read < position:
            self._read = self.endpoint.position = position
            self._ledger.note(self.account, pressing=False)

    async def turn(self) -> float:
        """Deliver what one step through the log gives, or as much of it as is taken; a requeued letter first.

        Raises:
            CosError: Postgres does not answer; the next turn goes on where this one was.
        """
        self.resting.clear()
        try:
            return await self._turn()
        finally:
            self.resting.set()

    async def _turn(self) -> float:
        if self.over:
            return IDLE_SECONDS
        if self.letters and self.redelivery is not None:
            wait = self._sender.left_alone(self.endpoint)
            if wait > 0 or await self.redelivery.turn() == 0:
                return wait
            self.letters = False
        wait = self._due - clock.monotonic()
        if wait > 0:
            return min(wait, IDLE_SECONDS)
        if not self._queue:
            step = await self._follower.step(self._read, self.endpoint.selection)
            self._queue.extend(step.entries)
            self._read, self._at_end = step.position, step.at_end
        return await self._deliver_queue()

    async def _deliver_queue(self) -> float:
        while self._queue and not self.letters:
            await self._ledger.room(self.account)
            if self.over:
                return IDLE_SECONDS
            wait = await self._deliver(self._queue[0])
            if wait is not None:
                return min(wait, IDLE_SECONDS)
            self._queue.popleft()
        if not self._queue and self.endpoint.position != self._read:
            self.endpoint.position = self._read
            self._ledger.note(self.account, pressing=False)
        return 0.0 if self._queue or not self._at_end else IDLE_SECONDS

    async def redeliver(self, message: Message) -> None:
        """Make one try of a requeued letter; raises NotTaken."""
        envelope = messages.decode(message.body or b"null")
        number = message.begun
        outcome = await self._send(
            envelope.id, envelope.position, envelope.type, number, message.body or b"", envelope.traceparent
        )
        if not outcome.delivered:
            raise NotTaken(outcome.error or "It was not taken.")
        self._delivered()

    async def _deliver(self, entry: Entry) -> float | None:
        """Make one try of an event; gives the pause before the next one, None when the event is behind us."""
        endpoint = self.endpoint
        traceparent = messages.decode(entry.event).traceparent
        outcome = await self._send(
            entry.id, str(entry.position), entry.type, endpoint.tries + 1, entry.event, traceparent
        )
        if outcome.delivered:
            endpoint.position, endpoint.tries, endpoint.next_try_at = entry.position, 0, None
            self._delivered()
            return None
        if outcome.not_tried_seconds is not None:
            return self._wait(outcome.not_tried_seconds)
        if outcome.gone:
            await self._ledger.disable(self.account, outcome.error or "")
            return IDLE_SECONDS
        return await self._failed(entry, outcome)

    async def _failed(self, entry: Entry, outcome: Outcome) -> float | None:
        endpoint, now = self.endpoint, clock.now()
        if endpoint.failing_since is None or endpoint.failing_since > now:  # the clock may have been set back
            endpoint.failing_since = now
            _log.warning("webhook_failing", webhook=str(endpoint.id), error=outcome.error)
        endpoint.failures += 1
        endpoint.error = outcome.error
        if not outcome.throttled:
            endpoint.tries += 1
        failing_seconds = (now - endpoint.failing_since).total_seconds()
        too_long = failing_seconds >= self._policy.disable_seconds
        if too_long and endpoint.failures >= self._policy.disable_failures:
            reason = (
                f"It failed for {_told(failing_seconds)}, {endpoint.failures} times in a row. {outcome.error}"
            )
            await self._ledger.disable(self.account, reason)
            return IDLE_SECONDS
        pause = self._policy.pause(max(endpoint.tries, 1))
        enough = outcome.refused and endpoint.tries >= self._policy.refused_tries
        if not outcome.throttled and (pause is None or enough):
            await self._ledger.bury(self.account, entry, outcome.error or "")
            return IDLE_SECONDS if self.account.lost else None
        wait = ids.jitter(pause or 0.0)
        if outcome.retry_after_seconds is not None:
            # What is asked for is the least; more, so that not all who were told the same come at once.
            asked = outcome.retry_after_seconds
            wait = max(asked, wait) if not outcome.throttled else asked + (asked - ids.jitter(asked)) / 10
        endpoint.next_try_at = now + timedelta(seconds=wait)
        return self._wait(wait)

    async def _send(
        self,
        event_id: UUID,
        position: str | None,
        kind: str,
        number: int,
        body: bytes,
        traceparent: str | None,
    ) -> Outcome:
        outcome = await self._sender.send(
            self.endpoint, message_id=str(event_id), body=body, traceparent=traceparent
        )
        if outcome.not_tried_seconds is None:
            attempt = Attempt(
                endpoint_id=self.endpoint.id,
                event_id=event_id,
                position=position,
                type=kind,
                number=number,
                outcome=outcome,
                at=clock.now(),
            )
            # Written when this task next waits: with what it draws from the outcome until then.
            self._ledger.note(self.account, attempt)
        return outcome

    def _delivered(self) -> None:
        endpoint = self.endpoint
        endpoint.delivered += 1
        endpoint.last_delivered_at = clock.now()
        endpoint.failing_since, endpoint.failures, endpoint.error = None, 0, None

    def _wait(self, seconds: float) -> float:
        self._due = clock.monotonic() + seconds
        return seconds

    def _left_of_pause(self) -> float:
        """Give what is left of the pause that another process began; never more than a pause can be."""
        if self.endpoint.next_try_at is None:
            return 0.0
        left = (self.endpoint.next_try_at - clock.now()).total_seconds()
        return min(max(left, 0.0), self._policy.longest_pause)


def _told(seconds: float) -> str:
    for name, size in (("days", 86_400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {name}"
    return f"{seconds:.0f} s"
