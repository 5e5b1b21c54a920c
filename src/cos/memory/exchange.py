"""Events as lines of a file that can be brought in again: everything that an event carries, to the byte.

The first line says what the file is, the last one how many events stand before it, so that a file cut between two lines
is noticed. A position is not written: it belongs to the database, and the order of the lines stands for it.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import msgspec

from cos.errors import BadInput
from cos.memory.event import Limits, NewEvent, PromptTrace, new_event

if TYPE_CHECKING:
    from collections.abc import Mapping

HEADER: Final = b'{"cos-events":1}'
#: The widest that settings can allow: what was accepted once is accepted again.
LIMITS: Final = Limits(data_bytes=64 * 1024 * 1024, data_depth=500)


class Prompt(PromptTrace, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A prompt trace with the id that it has."""

    id: UUID


class Line(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One event. Its data is `data`; or `data_text`, as text, where the JSON itself has line breaks in it."""

    id: UUID
    type: str
    module: str
    level: str
    time: datetime
    recorded_at: datetime
    subject: str | None = None
    request_id: str | None = None
    trace_id: str | None = None
    traceparent: str | None = None
    idempotency_key: str | None = None
    prompt: Prompt | None = None
    data: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    data_text: str | None = None


class _End(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    end: int


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Line).decode
_decode_end = msgspec.json.Decoder(_End).decode


def line_of(row: Mapping[str, Any]) -> bytes:
    """Write a row of `sql.EXPORT` as a line, without its line break; the same row always gives the same bytes."""
    text: str = row["data"]
    as_it_is = "\n" not in text and text == text.strip()
    prompt = None
    if row["prompt_id"] is not None:
        trace = {name: row[name] for name in PromptTrace.__struct_fields__}
        prompt = Prompt(id=row["prompt_id"], **trace)
    return _encode(
        Line(
            **{
                name: row[name]
                for name in Line.__struct_fields__
                if name not in {"prompt", "data", "data_text"}
            },
            prompt=prompt,
            data=msgspec.Raw(text.encode()) if as_it_is else msgspec.UNSET,
            data_text=None if as_it_is else text,
        )
    )


def end_of(count: int) -> bytes:
    """Write the last line."""
    return _encode(_End(count))


def read_end(line: bytes) -> int | None:
    """Give the number of events when this is a last line."""
    try:
        return _decode_end(line).end
    except msgspec.DecodeError:
        return None


def event_of(line: bytes) -> tuple[NewEvent, Prompt | None]:
    """Read an event and its prompt trace; checks it like any other that is to be recorded.

    Raises:
        BadInput: it is none; says why.
    """
    try:
        read = _decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadInput(f"it is no exported event ({error}).") from None
    if (read.data is msgspec.UNSET) == (read.data_text is None):
        raise BadInput("it needs one of data and data_text.")
    if read.recorded_at.tzinfo is None:
        raise BadInput("its recorded_at has no timezone.")
    data = read.data_text.encode() if read.data_text is not None else bytes(read.data)  # type: ignore[arg-type]
    event = new_event(
        type=read.type,
        module=read.module,
        raw_data=data,
        subject=read.subject,
        level=read.level,
        request_id=read.request_id,
        trace_id=read.trace_id,
        traceparent=read.traceparent,
        time=read.time,
        idempotency_key=read.idempotency_key,
        prompt=read.prompt,
        limits=LIMITS,
    )
    # The data as it stood: new_event keeps it to the byte, spaces around it included.
    return msgspec.structs.replace(event, id=read.id, recorded_at=read.recorded_at), read.prompt
