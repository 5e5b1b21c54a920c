"""The recorder: events in transactions of their own, which those who record at the same moment share.

A commit costs one wait for the disk however many records it carries. So callers put their events in a queue, and a
lane writes all that waits as one statement: alone, a caller's event goes at once; with many callers, the next batch
gathers while the last one is written. Lanes that are idle at the same moment share what waits, so that from then on
one is written while the callers of the other come back.

A caller who has been alone writes over a connection of its own (`_alone`): the way over a lane costs it two turns of
the loop, which is a fifth of a commit.

- `record` returns when the event is durable. An event has its id before it is written, so a batch whose connection
  was lost in mid-commit is written again without becoming two.
- Everything of one call becomes durable together, or none of it.
- The queue is bounded in records and bytes; who comes later waits, and gives up with `Overloaded`.
- A batch that Postgres refuses is split, so that one caller's bad input fails that caller alone.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from typing import Protocol

import asyncpg

from cos.common import clock, db, ids
from cos.errors import BadInput, CosError, DiskFull, Overloaded, PostgresUnreachable, Unavailable
from cos.memory.event import NewEvent
from cos.memory.l1_log import Recorded
from cos.memory.lane import Lane

LANES = 2
MAX_BATCH_RECORDS = 1000
MAX_BATCH_BYTES = 4 * 1024 * 1024
MAX_QUEUE_BYTES = 64 * 1024 * 1024
#: Fewer calls than this are not worth a second commit.
MIN_SHARED_CALLS = 8
FIRST_RETRY_SECONDS = 0.05
LAST_RETRY_SECONDS = 2.0


class Doorbell(Protocol):
    """What is rung when something was committed."""

    def ring(self) -> None:
        """Say that there is something to announce; cheap, and safe to call often."""
        ...


class _Call:
    """One caller's events, until they are durable."""

    __slots__ = ("deadline", "done", "events", "size")

    def __init__(
        self, events: Sequence[NewEvent], deadline: float, done: asyncio.Future[list[Recorded]]
    ) -> None:
        self.events = events
        self.size = events[0].size if len(events) == 1 else sum(event.size for event in events)
        self.deadline = deadline
        self.done = done

    def fail(self, error: Exception) -> None:
        if not self.done.done():
            self.done.set_exception(error)

    def expire(self, seconds: float) -> None:
        self.fail(_lost(TimeoutError(f"{seconds:g} s have passed")))


class Recorder:
    """Writes events durably, many callers a commit."""

    def __init__(
        self,
        *,
        url: str,
        doorbell: Doorbell,
        queue_records: int = 10_000,
        timeout_seconds: float = 30.0,
        lanes: int = LANES,
    ) -> None:
        """Take what is needed; `start` connects.

        Args:
            url: of the Postgres.
            doorbell: rung after each commit.
            queue_records: how many records may wait at once.
            timeout_seconds: how long a call may take before it gives up.
            lanes: how many batches may be written at the same time, each over a connection of its own; with 1, there is
                only ever one write at a time, also of a caller who is alone.
        """
        self._url = url
        self._doorbell = doorbell
        self._queue_records = queue_records
        self._timeout_seconds = timeout_seconds
        self._lane_count = lanes
        self._waiting: deque[_Call] = deque()
        self._waiting_records = 0
        self._waiting_bytes = 0
        self._room = asyncio.Condition()
        self._room_waiters = 0
        self._idle: deque[asyncio.Future[None]] = deque()
        self._lanes: list[asyncio.Task[None]] = []
        self._writing = 0
        self._alone = Lane(url)
        self._alone_lock = asyncio.Lock()
        self._last_batch_calls = 1
        self._stopping = False

    async def start(self) -> None:
        """Begin to take events; connections are made in the background."""
        if not self._lanes:
            loop = asyncio.get_running_loop()
            self._lanes = [
                loop.create_task(self._run_lane(), name=f"recorder:{number}")
                for number in range(self._lane_count)
            ]

    async def stop(self) -> None:
        """Write what waits, within the calls' own deadlines, and close the connections."""
        self._stopping = True
        lanes, self._lanes = self._lanes, []
        for sleeper in self._idle:
            if not sleeper.done():
                sleeper.set_result(None)
        for lane in lanes:
            with suppress(asyncio.CancelledError):
                await lane
        async with self._alone_lock:
            await self._alone.close()

    async def record(self, event: NewEvent) -> Recorded:
        """Write one event; returns when it is durable.

        Raises:
            Overloaded: too many records wait already, and none became free in time.
            PostgresUnreachable: Postgres could not be reached in time. The event may have been written all the same,
                if the answer to its commit was lost; an idempotency key makes it safe to try again.
            BadInput: Postgres refused the event.
        """
        return (await self.record_many((event,)))[0]

    async def record_many(self, events: Sequence[NewEvent]) -> list[Recorded]:
        """Write several events in one transaction, in this order; returns when all are durable.

        Raises:
            As `record` does; then none of them was written.
        """
        if not events:
            return []
        if self._stopping or not self._lanes:
            raise Unavailable("COS is stopping and takes no more events.")
        loop = asyncio.get_running_loop()
        deadline = clock.monotonic() + self._timeout_seconds
        call = _Call(events, deadline, loop.create_future())
        if self._is_alone():
            written = await self._write_alone(call)
            if written is not None:
                return written
        if self._is_full(call):
            await self._wait_for_room(call)
        self._waiting.append(call)
        self._waiting_records += len(events)
        self._waiting_bytes += call.size
        self._wake_one()
        # A timer of the loop costs a fifth of an `asyncio.timeout`, and nearly every call ends long before it.
        timer = loop.call_later(deadline - clock.monotonic(), call.expire, self._timeout_seconds)
        try:
            return await call.done
        finally:
            timer.cancel()

    def _is_alone(self) -> bool:
        """Say whether who calls now has had no company lately, so that a batch of one is as good as any."""
        return (
            self._last_batch_calls == 1
            and not self._waiting
            and self._lane_count > 1
            and not self._alone_lock.locked()
        )

    async def _write_alone(self, call: _Call) -> list[Recorded] | None:
        """Write in the caller's own task, once; None when the connection is not to be had, or was lost on the way."""
        lane = self._alone
        async with self._alone_lock:
            try:
                if not lane.is_open:
                    async with asyncio.timeout(self._timeout_seconds):
                        await lane.open()
                found = await lane.write(list(call.events), timeout_seconds=self._timeout_seconds)
            except (PostgresUnreachable, asyncpg.TransactionRollbackError, *db.LOST):
                await lane.close()
                return None
            except CosError:
                raise
            except Exception as error:
                raise _refused(error) from error
        self._doorbell.ring()
        return [found[event.id] for event in call.events]

    @property
    def waiting_records(self) -> int:
        """How many records wait to be written."""
        return self._waiting_records

    def _is_full(self, call: _Call) -> bool:
        if not self._waiting:
            return False
        return (
            self._waiting_records + len(call.events) > self._queue_records
            or self._waiting_bytes + call.size > MAX_QUEUE_BYTES
        )

    async def _wait_for_room(self, call: _Call) -> None:
        self._room_waiters += 1
        try:
            async with asyncio.timeout(self._timeout_seconds), self._room:
                await self._room.wait_for(lambda: self._stopping or not self._is_full(call))
        except TimeoutError:
            raise Overloaded(
                f"{self._waiting_records} records wait to be written and none got through in "
                f"{self._timeout_seconds:g} s; try again shortly."
            ) from None
        finally:
            self._room_waiters -= 1
        if self._stopping:
            raise Unavailable("COS is stopping and takes no more events.")

    async def _tell_of_room(self) -> None:
        if self._room_waiters:
            async with self._room:
                self._room.notify_all()

    def _wake_one(self) -> None:
        while self._idle:
            sleeper = self._idle.popleft()
            if not sleeper.done():
                sleeper.set_result(None)
                return

    async def _run_lane(self) -> None:
        lane = Lane(self._url)
        try:
            while True:
                batch = self._take()
                await self._tell_of_room()
                if batch:
                    self._writing += 1
                    try:
                        await self._write(lane, batch)
                    finally:
                        self._writing -= 1
                elif self._waiting:
                    continue  # came while those who wait for room were told
                elif self._stopping:
                    return
                else:
                    sleeper = asyncio.get_running_loop().create_future()
                    self._idle.append(sleeper)
                    await sleeper
        finally:
            await lane.close()
            if not self._stopping:
                for call in self._waiting:
                    call.fail(Unavailable("COS is stopping and takes no more events."))

    def _take(self) -> list[_Call]:
        """Take whole calls off the queue, up to a batch; a caller who gave up is left out."""
        batch: list[_Call] = []
        records = size = 0
        share = self._share()
        while self._waiting and len(batch) < share:
            call = self._waiting[0]
            if batch and (
                records + len(call.events) > MAX_BATCH_RECORDS or size + call.size > MAX_BATCH_BYTES
            ):
                break
            self._waiting.popleft()
            self._waiting_records -= len(call.events)
            self._waiting_bytes -= call.size
            if call.done.done():
                continue
            batch.append(call)
            records += len(call.events)
            size += call.size
        self._last_batch_calls = len(batch) or self._last_batch_calls
        if self._waiting:
            self._wake_one()
        return batch

    def _share(self) -> int:
        """Say how many calls are one lane's part of what waits, given how many lanes are free to take some."""
        waiting = len(self._waiting)
        free = self._lane_count - self._writing
        return waiting if waiting < MIN_SHARED_CALLS else -(-waiting // free)

    async def _write(self, lane: Lane, batch: list[_Call]) -> None:
        try:
            await self._write_until_durable(lane, batch)
        except asyncio.CancelledError:
            for call in batch:
                call.fail(
                    Unavailable("COS stopped while the event was being written; it may or may not be there.")
                )
            raise
        except Exception as error:  # noqa: BLE001  (whatever it is belongs to the callers, the lane goes on)
            for call in batch:
                call.fail(
                    error if isinstance(error, CosError) else Unavailable(f"The write failed: {error!r}.")
                )

    async def _write_until_durable(self, lane: Lane, batch: list[_Call]) -> None:
        pause, lost = FIRST_RETRY_SECONDS, False
        while batch:
            try:
                found = await lane.write([event for call in batch for event in call.events])
            except DiskFull as full:  # nothing that waiting could change
                raise _uncertain(full) if lost else full from None
            except (PostgresUnreachable, asyncpg.TransactionRollbackError, *db.LOST) as error:
                await lane.close()
                lost = True
                batch = _still_waiting(batch, error)
                if batch:
                    await asyncio.sleep(ids.jitter(pause))
                    pause = min(pause * 2, LAST_RETRY_SECONDS)
                continue
            except CosError:
                raise  # about the server, so about all of them
            except Exception as error:  # noqa: BLE001  (whatever it is, only the call that causes it may fail)
                await self._write_apart(lane, batch, error)
                return
            self._doorbell.ring()
            for call in batch:
                if not call.done.done():
                    call.done.set_result([found[event.id] for event in call.events])
            return

    async def _write_apart(self, lane: Lane, batch: list[_Call], error: Exception) -> None:
        """Find the call that cannot be written by writing each on its own."""
        if len(batch) == 1:
            batch[0].fail(_refused(error))
            return
        for call in batch:
            await self._write_until_durable(lane, [call])


def _still_waiting(batch: list[_Call], error: Exception) -> list[_Call]:
    """Fail the calls whose time is up; give the others."""
    now = clock.monotonic()
    for call in batch:
        if call.deadline <= now:
            call.fail(_lost(error))
    return [call for call in batch if not call.done.done()]


def _lost(error: Exception) -> PostgresUnreachable:
    said = " ".join(str(error).split())[:200] or type(error).__name__
    return PostgresUnreachable(
        f"Postgres did not answer in time ({said}); the event may or may not be there, try again with the same "
        "idempotency key."
    )


def _uncertain(full: DiskFull) -> DiskFull:
    """Say it to who had asked before: the answer to that was lost."""
    return type(full)(
        f"{full.detail} This event may or may not be there; try again with the same idempotency key."
    )


def _refused(error: Exception) -> CosError:
    said = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")  # the rest quotes the row
    if isinstance(error, asyncpg.DataError | asyncpg.IntegrityConstraintViolationError):
        return BadInput(f"Postgres refused the event: {said}.")
    if isinstance(error, asyncpg.DiskFullError):
        return DiskFull("The disk of Postgres is full; free some space, nothing was lost.")
    if not isinstance(error, asyncpg.PostgresError):
        return Unavailable(f"The write failed: {error!r}.")
    return Unavailable(f"Postgres could not write the event: {said}.")
