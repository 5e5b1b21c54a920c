"""The work of one consumer: the messages that it holds, who handles which when, and what becomes of each.

A message is *ready*, *running*, *paused* until its next attempt, or, where order is kept, *behind* the one before it in
its lane. It leaves by being done (handled, not wanted, or buried) or by being lost to another consumer. One whose
consumer fell silent is a suspect: it may have killed it. Suspects run one at a time, and each beginning is counted
in Redis first, so that only the one that kills is ever held responsible.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING

import structlog

from cos.common.deadline import Deadline
from cos.common.subscriber_calls import Calls
from cos.common.subscriber_policy import CutShort, Desk, Died, Graves, Late, Message, Policy, Unfit

if TYPE_CHECKING:
    from cos.common.subscriber_policy import Stream

_log = structlog.get_logger("cos.subscriber")
#: After so many calls in a row the others on the event loop get their turn.
_YIELD_EVERY = 50

Place = tuple[str, bytes]


class Work:
    """What one consumer holds and does. Counters only rise; they are read, never written, from outside."""

    def __init__(
        self,
        *,
        name: str,
        desk: Desk,
        graves: Graves,
        policy: Policy,
        begin: Callable[[Iterable[Message]], Awaitable[set[Place]]],
        restore: Callable[[Message], Awaitable[bytes | None]],
        wake: Callable[[], None],
        may_begin: Callable[[], bool] = lambda: True,
    ) -> None:
        """Take the collaborators.

        Args:
            name: of the group, for logs and tasks.
            desk: handles messages.
            graves: keeps those that cannot be handled.
            policy: limits.
            begin: counts in Redis that messages are begun again; gives those that are another's by now.
            restore: reads from elsewhere what the stream does not hold any more.
            wake: told when there may be room, or something to acknowledge.
            may_begin: asked before each call; what may not begin stays held.
        """
        self.handled = 0
        self.failed = 0
        self.buried = 0
        self.skipped = 0
        self.lost = 0
        self.last_error: BaseException | None = None
        self.done: dict[str, list[bytes]] = {}
        self.held: dict[Place, Message] = {}
        self._name = name
        self._desk = desk
        self._graves = graves
        self._policy = policy
        self._begin = begin
        self._restore = restore
        self._wake = wake
        self._may_begin = may_begin
        self._ready: deque[Message] = deque()
        self._suspects: deque[Message] = deque()
        self._suspect_runs = False
        self._running: set[Place] = set()
        self._lanes: dict[str, deque[Message]] = {}
        self._pauses: dict[Place, asyncio.TimerHandle] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._calls = Calls()
        self._workers = 0
        self._draining = False
        self._low = policy.prefetch // 2

    @property
    def room(self) -> int:
        """How many more messages may be held."""
        return self._policy.prefetch - len(self.held)

    @property
    def running(self) -> int:
        """How many workers are busy."""
        return self._workers

    @property
    def is_idle(self) -> bool:
        """Whether nothing is held and nothing is to be acknowledged."""
        return not self.held and not self.done

    def accept(self, messages: Iterable[Message]) -> None:
        """Take messages that were read or claimed; one that is held already is left out."""
        for message in messages:
            place = message.place = (message.key, message.id)
            if place in self.held:
                continue
            self.held[place] = message
            try:
                wanted = message.body is None or self._desk.open(message)
            except Exception as error:  # noqa: BLE001  (a message that cannot be read is a dead letter, not a crash)
                message.failed = error
                wanted = True
            if not wanted:
                self.skipped += 1
                self._finish(message)
                continue
            if message.suspect and message.begun > 1 and message.begun >= self._policy.attempts:
                message.failed = Died(f"Its consumer fell silent {message.begun} times while it handled it.")
            self._line_up(message)
        self._hire()

    def drop(self, places: Iterable[Place]) -> None:
        """Let go of messages that another consumer has; a call under way goes on."""
        for place in places:
            message = self.held.get(place)
            if message is not None and place not in self._running:
                self.lost += 1
                self._let_go(message)

    def waiting(self, stream: Stream) -> list[Message]:
        """Give the messages of a stream that are held and not running."""
        return [m for place, m in self.held.items() if m.stream == stream and place not in self._running]

    @property
    def streams(self) -> list[Stream]:
        """Give the streams of which something is held."""
        return list(dict.fromkeys(m.stream for m in self.held.values()))

    def is_busy_with(self, stream: Stream) -> bool:
        """Say whether a message of a stream is being handled."""
        return any(place[0] in (stream.key, stream.refill) for place in self._running)

    def cut_short(self, stream: Stream) -> None:
        """Let go of everything of a stream, since it is another's now: what waits is dropped, a call is cancelled."""
        self.drop([m.place for m in self.waiting(stream)])
        self._calls.cut_short(stream)

    def knows(self, message: Message) -> bool:
        """Say whether a message is held, or done and not acknowledged yet."""
        return (message.key, message.id) in self.held or message.id in self.done.get(message.key, ())

    def take_done(self) -> dict[str, list[bytes]]:
        """Give what is to be acknowledged, by key; it counts as acknowledged from here on."""
        done, self.done = self.done, {}
        return done

    def give_back_done(self, done: dict[str, list[bytes]]) -> None:
        """Take back what could not be acknowledged."""
        for key, entries in done.items():
            self.done.setdefault(key, []).extend(entries)

    def retire(self) -> None:
        """Begin nothing more."""
        self._draining = True

    async def drain(self, seconds: float) -> None:
        """Begin nothing more; wait for the calls under way, then cancel them."""
        self.retire()
        for pause in self._pauses.values():
            pause.cancel()
        self._pauses.clear()
        tasks = set(self._tasks)
        if tasks:
            await asyncio.wait(tasks, timeout=max(seconds, 0))
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=1.0)

    def _line_up(self, message: Message) -> None:
        if self._policy.ordered:
            lane = self._lanes.get(message.lane)
            if lane is not None:
                lane.append(message)
                return
            self._lanes[message.lane] = deque((message,))
        self._queue(message)

    def _queue(self, message: Message) -> None:
        (self._suspects if message.suspect else self._ready).append(message)

    def _hire(self) -> None:
        """Start workers for what is ready, up to the limit."""
        due = len(self._ready) + (1 if self._suspects and not self._suspect_runs else 0)
        free = 0 if self._draining else self._policy.concurrency - self._workers
        for _ in range(min(due, free)):
            self._workers += 1
            task = asyncio.get_running_loop().create_task(self._work(), name=f"subscriber:{self._name}:work")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _work(self) -> None:
        calls = 0
        deadline = Deadline(seconds=self._policy.deadline_seconds)
        try:
            while not self._draining and self._may_begin():
                batch = self._next()
                if not batch:
                    return
                await self._handle(batch, deadline)
                calls += 1
                if len(self._ready) <= self._low:
                    self._wake()
                if calls % _YIELD_EVERY == 0:
                    await asyncio.sleep(0)
        finally:
            # In the same step as the look that found nothing: who is accepted from here on finds a worker missing.
            self._workers -= 1
            deadline.close()
            self._wake()

    def _next(self) -> list[Message]:
        """Take what the next call is about: a suspect or a repetition alone, else as many as a call may have."""
        while self._suspects and not self._suspect_runs:
            message = self._suspects.popleft()
            if self._is_held(message):
                self._suspect_runs = True
                self._running.add(message.place)
                return [message]
        batch: list[Message] = []
        ready, most = self._ready, self._policy.batch
        while ready and len(batch) < most:
            alone = ready[0].begun > 0 or ready[0].failed is not None or ready[0].body is None
            if alone and batch:
                break
            message = ready.popleft()
            if not self._is_held(message):
                continue
            self._running.add(message.place)
            batch.append(message)
            if alone:
                break
        return batch

    def _is_held(self, message: Message) -> bool:
        return self.held.get(message.place) is message

    async def _handle(self, batch: list[Message], deadline: Deadline) -> None:
        try:
            first = batch[0]
            if first.failed is not None:
                await self._bury(first, first.failed)
                return
            if first.body is None and not await self._restored(first):
                return
            again = first.begun > 0
            for message in batch:
                message.begun += 1
            if again and not await self._begun_again(first):
                return
            if not self._may_begin():
                self.lost += len(batch)
                for message in batch:
                    self._let_go(message)
                return
            await self._call(batch, deadline)
        except Exception as error:  # noqa: BLE001  (not the handler's: Redis or Postgres is away, so again later)
            self._pause_all(batch, error)
        finally:
            for message in batch:
                self._running.discard(message.place)
            if batch[0].suspect:
                self._suspect_runs = False

    async def _restored(self, message: Message) -> bool:
        """Fetch what the stream has lost; says whether there is something to handle."""
        message.body = await self._restore(message)
        if message.body is None:
            _log.warning("entry_vanished", group=self._name, entry=message.id.decode())
        elif self._desk.open(message):
            return True
        self.skipped += 1
        self._finish(message)
        return False

    async def _begun_again(self, message: Message) -> bool:
        """Count in Redis that an attempt begins; says whether the message still is ours."""
        try:
            lost = await self._begin((message,))
        except Exception:
            message.begun -= 1
            raise
        if lost:
            self.lost += 1
            self._let_go(message)
        return not lost

    async def _call(self, batch: list[Message], deadline: Deadline) -> None:
        error: BaseException | None = None
        task = deadline.task
        self._calls.begin(task, batch)
        deadline.begin()
        try:
            await self._desk.handle(batch)
        except asyncio.CancelledError as cancelled:
            error = cancelled
        except Exception as raised:  # noqa: BLE001  (a handler may raise anything; it is kept and tried again)
            error = raised
        was_late = deadline.end()
        was_cut = self._calls.end(task)
        if was_late and error is not None:
            error = Late(f"It did not end within {self._policy.deadline_seconds:g} s.")
        if error is None:
            self.handled += len(batch)
            for message in batch:
                self._finish(message)
            return
        if isinstance(error, asyncio.CancelledError):
            if task.cancelling():
                raise error  # we are stopped; otherwise something inside the handler was cancelled, not the handler
            if was_cut:
                await self._leave(batch)
                return
        await self._failed(batch, error)

    async def _leave(self, batch: list[Message]) -> None:
        """Leave to whoever has the stream now what was cut short, but not without end."""
        for message in batch:
            if message.begun >= self._policy.attempts:
                await self._bury(
                    message, CutShort(f"Its stream was lost {message.begun} times while it ran.")
                )
            else:
                self.lost += 1
                self._let_go(message)

    async def _failed(self, batch: list[Message], error: BaseException) -> None:
        self.failed += 1
        self.last_error = error
        _log.warning(
            "handler_failed",
            group=self._name,
            entry=batch[0].id.decode(),
            messages=len(batch),
            attempt=batch[0].begun,
            error=repr(error)[:500],
        )
        for message in batch:
            hopeless = len(batch) == 1 and isinstance(error, Unfit)
            if hopeless or message.begun >= self._policy.attempts:
                message.failed = error
                await self._bury(message, error)
            else:
                self._pause(message, self._policy.pause_seconds(message.begun))

    async def _bury(self, message: Message, error: BaseException) -> None:
        await self._graves.bury(message, error)
        self.buried += 1
        self._finish(message)

    def _pause_all(self, batch: list[Message], error: Exception) -> None:
        self.last_error = error
        for message in batch:
            if self._is_held(message) and message.place not in self._pauses:
                self._pause(message, self._policy.pause_seconds(max(message.begun, 1)))

    def _pause(self, message: Message, seconds: float) -> None:
        place = message.place
        if not self._draining:
            loop = asyncio.get_running_loop()
            self._pauses[place] = loop.call_later(seconds, self._resume, message)

    def _resume(self, message: Message) -> None:
        self._pauses.pop(message.place, None)
        if self._is_held(message):
            self._queue(message)
            self._hire()

    def _finish(self, message: Message) -> None:
        self.done.setdefault(message.key, []).append(message.id)
        self._let_go(message)

    def _let_go(self, message: Message) -> None:
        place = message.place
        if self.held.get(place) is message:
            del self.held[place]
        pause = self._pauses.pop(place, None)
        if pause is not None:
            pause.cancel()
        lane = self._lanes.get(message.lane) if self._policy.ordered else None
        if lane and lane[0] is message:
            lane.popleft()
            if lane:
                self._queue(lane[0])
            else:
                del self._lanes[message.lane]
        elif lane and message in lane:
            lane.remove(message)
