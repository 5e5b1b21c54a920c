"""Plain channels over Redis, for signals that may be lost: what must not be lost goes through the log.

- `publish` returns how many heard it; nobody is a fine answer.
- A channel may have several handlers; each gets each message, in order, and an error of one hurts no other.
- After a lost connection everything is subscribed again by itself; what was published meanwhile is gone.
- Each message carries a correlation id, the publisher's request id by default, and each handler runs under it.
- A handler that falls behind loses the oldest of what waits for it, counted, rather than holding the others up.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

import msgspec
import structlog

from cos.common import context, ids
from cos.common.circuit_breaker import CircuitBreaker
from cos.common.looper import Looper
from cos.common.redis import LOST, connect_error
from cos.errors import BadInput, Unavailable

if TYPE_CHECKING:
    from redis.asyncio import Redis
    from redis.asyncio.client import PubSub

_log = structlog.get_logger("cos.pubsub")

#: What may wait for one handler.
MAX_WAITING = 1000
MAX_SENDING = 16
MAX_MESSAGE_BYTES = 1024 * 1024
MAX_CHANNEL_CHARACTERS = 200
_LISTEN_SECONDS = 1.0
_IDLE_SECONDS = 60.0


class Message(msgspec.Struct, frozen=True):
    """What a handler gets.

    Attributes:
        channel: that it came on.
        data: any JSON value.
        correlation_id: says which messages belong together.
    """

    channel: str
    data: Any
    correlation_id: str


class _Wire(msgspec.Struct, frozen=True):
    data: Any
    correlation_id: str


Handler = Callable[[Message], Awaitable[None]]

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(_Wire)


@dataclass(frozen=True, slots=True)
class Health:
    """How the channels stand.

    Attributes:
        connected: whether the subscriptions stand now.
        channels: subscribed ones.
        handlers: of all channels.
        published: messages sent since the start.
        received: messages that came in.
        lost: messages that a handler was too slow for.
        failed: calls of handlers that raised.
        reconnects: how often the subscriptions were made anew.
        breaker: state of the breaker in front of Redis.
    """

    connected: bool
    channels: int
    handlers: int
    published: int
    received: int
    lost: int
    failed: int
    reconnects: int
    breaker: str


@dataclass(slots=True, eq=False)
class _Subscription:
    handler: Handler
    waiting: deque[Message] = field(default_factory=lambda: deque(maxlen=MAX_WAITING))
    awake: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None


class RedisPubSub:
    """Publishes and subscribes; `connect` before, `close` after, or an async context manager."""

    def __init__(self, *, redis: Redis, url: str, breaker: CircuitBreaker | None = None) -> None:
        """Take the client; nothing connects yet.

        Args:
            redis: an async client without response decoding.
            url: of that client, named in messages.
            breaker: in front of Redis; one of its own when absent.
        """
        self._redis = redis
        self._url = url
        self.breaker = breaker or CircuitBreaker(name="Redis", failures=LOST)
        self._handlers: dict[str, list[_Subscription]] = {}
        self._pubsub: PubSub | None = None
        self._subscribed: set[str] = set()
        self._ready: dict[str, asyncio.Event] = {}
        self._looper = Looper(name="pubsub", part=self)
        self._open = False
        # More at once would run out of the client's connections, which is no fault of Redis.
        self._sending = asyncio.Semaphore(MAX_SENDING)
        self._published = self._received = self._lost = self._failed = self._reconnects = 0

    async def __aenter__(self) -> Self:
        """Connect."""
        await self.connect()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close."""
        await self.close()

    async def connect(self) -> None:
        """Begin; a Redis that is away now is connected to when it is back. Harmless when it has begun."""
        self._open = True
        self._looper.start()

    async def close(self) -> None:
        """End: handlers finish the message they are at, what waits for them is dropped."""
        self._open = False
        await self._looper.stop()
        await self._drop()
        for subscriptions in self._handlers.values():
            for one in subscriptions:
                await _end(one)
        self._handlers.clear()

    async def publish(self, channel: str, data: Any, *, correlation_id: str | None = None) -> int:
        """Send a message to whoever listens now.

        Args:
            channel: 1 to 200 characters.
            data: any JSON value, at most 1 MiB.
            correlation_id: the request's id when absent, or a new one outside of a request.

        Returns:
            How many subscribers heard it.

        Raises:
            BadInput: the channel or the data cannot be sent.
            BreakerOpen: Redis failed repeatedly and is left alone for a moment.
            RedisUnreachable: it did not answer.
        """
        _check_channel(channel)
        told = correlation_id or context.request_id.get() or ids.random_hex(16)
        try:
            raw = _encoder.encode(_Wire(data, told))
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            raise BadInput(f"The message for {channel!r} cannot be written as JSON: {error}.") from None
        if len(raw) > MAX_MESSAGE_BYTES:
            raise BadInput(
                f"The message for {channel!r} has {len(raw)} bytes; at most {MAX_MESSAGE_BYTES} are sent."
            )
        try:
            async with self._sending:
                heard: int = await self.breaker.call(lambda: self._redis.publish(channel, raw))
        except LOST as error:
            raise connect_error(self._url, error) from error
        self._published += 1
        return heard

    async def subscribe(self, channel: str, handler: Handler, *, timeout_seconds: float = 5.0) -> None:
        """Have a handler called with each message of a channel.

        Args:
            channel: 1 to 200 characters.
            handler: called with one message at a time.
            timeout_seconds: how long to wait until the subscription stands; when Redis is away it will stand later.

        Raises:
            BadInput: the channel has no such form, or has this handler already.
            Unavailable: `connect` was not called.
        """
        _check_channel(channel)
        if not self._open:
            raise Unavailable("The channels are not connected; call connect first.")
        mine = self._handlers.setdefault(channel, [])
        if any(one.handler == handler for one in mine):
            raise BadInput(f"The channel {channel!r} has this handler already.")
        subscription = _Subscription(handler)
        subscription.task = asyncio.create_task(self._serve(subscription), name=f"pubsub:{channel}")
        mine.append(subscription)
        ready = self._ready.setdefault(channel, asyncio.Event())
        if self._pubsub is not None and channel not in self._subscribed:
            with suppress(*LOST):
                await self._pubsub.subscribe(channel)
        self._looper.wake()
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_seconds):
                await ready.wait()

    async def unsubscribe(self, channel: str, handler: Handler | None = None) -> None:
        """Take one handler off a channel, or all; harmless where there is none."""
        gone = [one for one in self._handlers.get(channel, []) if handler is None or one.handler == handler]
        for one in gone:
            await _end(one)
            self._handlers[channel].remove(one)
        if channel in self._handlers and not self._handlers[channel]:
            del self._handlers[channel]
            self._ready.pop(channel, None)
            self._subscribed.discard(channel)
            if self._pubsub is not None:
                with suppress(*LOST):
                    await self._pubsub.unsubscribe(channel)

    def health(self) -> Health:
        """Give how the channels stand, without asking Redis."""
        return Health(
            connected=self._pubsub is not None and self._subscribed >= set(self._handlers),
            channels=len(self._handlers),
            handlers=sum(len(some) for some in self._handlers.values()),
            published=self._published,
            received=self._received,
            lost=self._lost,
            failed=self._failed,
            reconnects=self._reconnects,
            breaker=self.breaker.state.value,
        )

    async def turn(self) -> float:
        """Listen until there is nothing to listen for, or the connection is lost; the looper then tries again.

        Raises:
            RedisUnreachable: the connection was lost.
        """
        if not self._handlers:
            await self._drop()
            return _IDLE_SECONDS
        try:
            await self._listen()
        except LOST as error:
            await self._drop()
            raise connect_error(self._url, error) from error
        return 0.0

    async def _listen(self) -> None:
        if self._pubsub is None:
            pubsub = self._redis.pubsub()
            try:
                await pubsub.subscribe(*self._handlers)
            except BaseException:
                await pubsub.aclose()  # type: ignore[no-untyped-call]  # the client leaves it untyped
                raise
            self._pubsub = pubsub
        while self._handlers:
            message = await self._pubsub.get_message(timeout=_LISTEN_SECONDS)
            if message is None:
                missing = set(self._handlers) - self._subscribed
                if missing:
                    await self._pubsub.subscribe(*missing)
                continue
            self._heard(message)

    def _heard(self, message: dict[str, Any]) -> None:
        channel = message["channel"].decode()
        if message["type"] == "subscribe":
            self._subscribed.add(channel)
            if channel in self._ready:
                self._ready[channel].set()
        if message["type"] != "message":
            return
        self._received += 1
        try:
            wire = _decoder.decode(message["data"])
            told = Message(channel, wire.data, wire.correlation_id)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            # Somebody else's message, not one of ours: it is handed on as it is, under an id of its own.
            told = Message(channel, message["data"].decode(errors="replace"), ids.random_hex(16))
        for one in self._handlers.get(channel, ()):
            self._lost += len(one.waiting) == MAX_WAITING
            one.waiting.append(told)
            one.awake.set()

    async def _serve(self, subscription: _Subscription) -> None:
        while True:
            while subscription.waiting:
                message = subscription.waiting.popleft()
                token = context.request_id.set(message.correlation_id)
                try:
                    await subscription.handler(message)
                except Exception:  # noqa: BLE001  (whatever it is, the other handlers and messages go on)
                    self._failed += 1
                    _log.exception(
                        "handler_failed", channel=message.channel, correlation_id=message.correlation_id
                    )
                finally:
                    context.request_id.reset(token)
            subscription.awake.clear()
            await subscription.awake.wait()

    async def _drop(self) -> None:
        pubsub, self._pubsub = self._pubsub, None
        self._subscribed.clear()
        for ready in self._ready.values():
            ready.clear()
        if pubsub is not None:
            self._reconnects += 1
            with suppress(*LOST):
                await pubsub.aclose()  # type: ignore[no-untyped-call]  # as above


async def _end(subscription: _Subscription) -> None:
    task = subscription.task
    while task is not None and not task.done():
        task.cancel()
        await asyncio.wait([task], timeout=0.2)


def _check_channel(channel: str) -> None:
    if not 1 <= len(channel) <= MAX_CHANNEL_CHARACTERS:
        raise BadInput(f"A channel's name has 1 to {MAX_CHANNEL_CHARACTERS} characters, not {len(channel)}.")
    try:
        channel.encode()
    except UnicodeEncodeError:
        raise BadInput("The channel's name holds half of a surrogate pair, which is no valid text.") from None
