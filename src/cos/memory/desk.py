"""The desk of a subscription: reads entries into events, and calls the handler with what belongs to each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from cos.common import context
from cos.common.subscriber_policy import Message
from cos.memory.delivery import Event, Reading, call

if TYPE_CHECKING:
    from cos.memory.delivery import Sessions
    from cos.memory.highway import Subscription

#: Is entered around each call of a handler, with the group's name and the events; for spans and the like.
Around = Callable[[str, Sequence[Event[Any]]], AbstractContextManager[Any]]


class EventDesk:
    """Handles one group's messages; a `cos.common.subscriber_policy.Desk`."""

    def __init__(
        self, *, subscription: Subscription, sessions: Sessions | None = None, around: Around | None = None
    ) -> None:
        """Take the subscription.

        Args:
            subscription: whose handler is called.
            sessions: makes the session of a handler that takes one.
            around: entered around each call.
        """
        self._subscription = subscription
        self._part = subscription.binding.alone
        self._reading = Reading(binding=subscription.binding, types=subscription.wanted)
        self._sessions = sessions
        self._around = around

    def open(self, message: Message) -> bool:
        """Read the message; False when its type is not wanted; raises Unfit."""
        event = self._reading.event(message.body or b"")
        if event is None:
            return False
        message.item = event
        if self._subscription.policy.ordered:
            message.lane = f"{event.envelope.module}\x1f{event.envelope.subject or ''}"
        return True

    async def handle(self, messages: Sequence[Message]) -> None:
        """Call the handler; what it records belongs to the request and the trace of the (first) event."""
        events: list[Event[Any]] = []
        for message in messages:
            message.item.attempt = message.begun
            events.append(message.item)
        envelope = events[0].envelope
        context.request_id.set(envelope.requestid)
        context.traceparent.set(envelope.traceparent)
        subscription = self._subscription
        if self._around is None and self._part is not None:
            await subscription.handler(self._part(events[0]))
            return
        if self._around is None:
            await call(subscription.handler, subscription.binding, events, self._sessions)
            return
        with self._around(subscription.group, events):
            await call(subscription.handler, subscription.binding, events, self._sessions)

    async def handle_one(self, message: Message) -> None:
        """Read and handle a single message, as a dead letter's delivery does; one that is not wanted is done."""
        if self.open(message):
            await self.handle((message,))
