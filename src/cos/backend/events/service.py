"""What the events routes do: decode, check, hand to the recorder, read back."""

from __future__ import annotations

import asyncio
import re
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import msgspec

from cos.backend.events.schemas import EventIn, Receipt, Receipts, StreamReceipt
from cos.errors import BadInput, CosError, TooLarge

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator

    from cos.backend.deps import Services
    from cos.memory.event import Limits, NewEvent
    from cos.memory.l1_log import Recorded

#: Lines of a stream that become durable together.
STREAM_BATCH = 1000
STREAM_BATCH_BYTES = 2 * 1024 * 1024
MAX_ARRAY = 10_000
_YIELD_EVERY = 500
#: What a line may hold beside its data: names, ids, a prompt and its answer.
_LINE_OVERHEAD_BYTES = 12 * 1024 * 1024

_ESCAPED_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_SURROGATE_PAIR = re.compile(rb"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}")

_one = msgspec.json.Decoder(EventIn)
_many = msgspec.json.Decoder(list[EventIn])


def receipt(recorded: Recorded) -> Receipt:
    """Give the receipt of one record."""
    return Receipt(str(recorded.id), str(recorded.position), recorded.duplicate)


async def record_one(services: Services, body: bytes, key: str | None, *, limits: Limits) -> Receipt:
    """Record the one event in a body."""
    given = _decode(_one, body, "The body")
    return receipt(await services.recorder.record(given.checked(limits, key=key)))


async def record_array(services: Services, body: bytes, *, limits: Limits) -> Receipts:
    """Record the events of an array in one transaction: all of them or none."""
    given: list[EventIn] = _decode(_many, body, "The body")
    if len(given) > MAX_ARRAY:
        raise TooLarge(
            f"The array holds {len(given)} events; at most {MAX_ARRAY} are taken in one transaction. "
            "Send more as a stream of lines (application/x-ndjson)."
        )
    events = []
    for number, one in enumerate(given):
        try:
            events.append(one.checked(limits))
        except CosError as error:
            raise type(error)(f"Event {number} of the array: {error.detail}", index=number) from None
        if number % _YIELD_EVERY == _YIELD_EVERY - 1:
            await asyncio.sleep(0)  # a long array must not hold up the others' requests
    done = await services.recorder.record_many(events)
    repeated = sum(one.duplicate for one in done)
    return Receipts(len(done) - repeated, repeated, [receipt(one) for one in done])


async def record_stream(services: Services, chunks: AsyncIterable[bytes], *, limits: Limits) -> StreamReceipt:
    """Record newline-delimited events as they arrive, in order, a batch a transaction.

    While one batch becomes durable the next is read and checked; never more than two are in memory.

    Raises:
        BadInput: at the first line that cannot be recorded; the problem tells how many before it were.
    """
    result = StreamReceipt()
    writing: asyncio.Task[list[Recorded]] | None = None
    try:
        async for batch in _batches(chunks, limits):
            if writing is not None:
                result.add(await writing)
            writing = asyncio.create_task(services.recorder.record_many(batch), name="events:stream")
        if writing is not None:
            result.add(await writing)
            writing = None
    except _BadLine as bad:
        if writing is not None:
            result.add(await writing)
            writing = None
        error = bad.error
        raise type(error)(
            f"Line {bad.line}: {error.detail} The {result.recorded + result.duplicates} lines before it are recorded.",
            line=bad.line,
            recorded=result.recorded,
            duplicates=result.duplicates,
        ) from None
    finally:
        if writing is not None:
            writing.cancel()
            with suppress(asyncio.CancelledError, CosError):
                await writing
    return result


class _BadLine(Exception):
    def __init__(self, line: int, error: CosError) -> None:
        super().__init__(line)
        self.line = line
        self.error = error


async def _batches(chunks: AsyncIterable[bytes], limits: Limits) -> AsyncIterator[list[NewEvent]]:
    """Check the lines; what stands before a bad line is given as a batch before the bad line is raised."""
    batch: list[NewEvent] = []
    size = number = 0
    bad: _BadLine | None = None
    try:
        async for line in _lines(chunks, limits.data_bytes + _LINE_OVERHEAD_BYTES):
            number += 1
            if not line.strip():
                continue
            try:
                event = _decode(_one, line, "It").checked(limits)
            except CosError as error:
                bad = _BadLine(number, error)
                break
            batch.append(event)
            size += event.size
            if len(batch) >= STREAM_BATCH or size >= STREAM_BATCH_BYTES:
                yield batch
                batch, size = [], 0
    except _BadLine as too_long:
        bad = too_long
    if batch:
        yield batch
    if bad is not None:
        raise bad


async def _lines(chunks: AsyncIterable[bytes], most: int) -> AsyncIterator[bytes]:
    rest = b""
    number = 0
    async for chunk in chunks:
        parts = (rest + chunk).split(b"\n")
        rest = parts.pop()
        for part in parts:
            number += 1
            yield part
        if len(rest) > most:
            raise _BadLine(number + 1, TooLarge(f"It is longer than {most} bytes."))
    if rest:
        yield rest


def _decode(decoder: msgspec.json.Decoder[Any], body: bytes, what: str) -> Any:
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        raise BadInput(f"{what} is not an event: {error}.") from None
    except UnicodeDecodeError as error:
        raise BadInput(f"{what} is not valid UTF-8 at byte {error.start}.") from None
    except RecursionError:
        raise BadInput(f"{what} is nested too deep.") from None
    except msgspec.DecodeError as error:
        # The decoder takes the end of the text for its end when the other half of a pair is missing.
        if _ESCAPED_SURROGATE.search(_SURROGATE_PAIR.sub(b"", body)) is not None:
            raise BadInput(f"{what} holds half of a surrogate pair, which is no valid text.") from None
        raise BadInput(f"{what} is not JSON: {error}.") from None
