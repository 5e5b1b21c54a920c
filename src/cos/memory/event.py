"""A new event on its way into the log: what is accepted, and the sentence for what is not."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec

from cos.common import clock, ids
from cos.errors import BadInput, Forbidden, TooLarge

NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,63}")
TYPE = re.compile(r"[A-Za-z][A-Za-z0-9_.:/-]{0,99}")
LEVELS = ("debug", "info", "warning", "error", "critical")
MAX_SUBJECT = 500
MAX_ID = 200
MAX_KEY = 200
MAX_PROMPT_BYTES = 4 * 1024 * 1024
#: How much of a bad value a sentence shows, in characters.
_SHOWN = 60

_ESCAPED_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder()


@dataclass(frozen=True, slots=True)
class Limits:
    """What may be recorded.

    Attributes:
        data_bytes: how large the data of one event may be, as JSON.
        data_depth: how deep it may be nested.
        reserved: types that are told by COS alone.
    """

    data_bytes: int = 1024 * 1024
    data_depth: int = 64
    reserved: frozenset[str] = frozenset()


DEFAULT_LIMITS = Limits()


class PromptTrace(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One prompt and its answer, tied to the record that it belongs to. Any member may be unknown."""

    prompt: str | None = None
    response: str | None = None
    model: str | None = None
    latency_ms: int | None = None
    tokens_in: int | None = None
    tokens_out: int | None = None


class NewEvent(msgspec.Struct, frozen=True, kw_only=True):
    """A checked event that only has to be written. Make one with `new_event`."""

    id: UUID
    module: str
    type: str
    subject: str | None
    level: str
    data: msgspec.Raw
    request_id: str | None
    trace_id: str | None
    traceparent: str | None
    time: datetime
    recorded_at: datetime
    idempotency_key: str | None
    prompt: PromptTrace | None

    @property
    def size(self) -> int:
        """Give roughly how many bytes the event keeps in memory."""
        prompt = self.prompt
        more = len(prompt.prompt or "") + len(prompt.response or "") if prompt is not None else 0
        return len(memoryview(self.data)) + more + 200


def new_event(
    *,
    type: str,  # noqa: A002  (the member's name in CloudEvents)
    module: str,
    data: Any = None,
    raw_data: bytes | msgspec.Raw | None = None,
    subject: str | None = None,
    level: str = "info",
    request_id: str | None = None,
    trace_id: str | None = None,
    traceparent: str | None = None,
    time: datetime | None = None,
    idempotency_key: str | None = None,
    prompt: PromptTrace | None = None,
    limits: Limits = DEFAULT_LIMITS,
) -> NewEvent:
    """Check what a caller wants recorded.

    Args:
        type: what happened: a letter, then letters, digits and `_.:/-`; at most 100 characters.
        module: who says so: a letter, then letters, digits and `_.-`; at most 64 characters.
        data: any JSON value, as Python values; or
        raw_data: the same as JSON text, kept to the byte.
        subject: what it happened to; at most 500 characters.
        level: one of debug, info, warning, error, critical.
        request_id: id of the request that caused it; at most 200 characters.
        trace_id: id of the trace that it belongs to; at most 200 characters.
        traceparent: W3C trace context; at most 200 characters.
        time: when it happened, timezone-aware; now when absent.
        idempotency_key: the same key again gives back the first record; at most 200 characters.
        prompt: the prompt that caused it and its answer.
        limits: what may be recorded.

    Raises:
        BadInput: names what cannot be recorded and why.
        TooLarge: the data is larger than the limit.
    """
    if TYPE.fullmatch(type) is None:
        raise BadInput(
            f"The event type {_shown(type)} is not allowed: a letter, then letters, digits and _ . : / -, "
            "at most 100 characters."
        )
    if NAME.fullmatch(module) is None:
        raise BadInput(
            f"The module {_shown(module)} is not allowed: a letter, then letters, digits and _ . -, "
            "at most 64 characters."
        )
    if level not in LEVELS:
        raise BadInput(f"The level {_shown(level)} is not one of {', '.join(LEVELS)}.")
    _check_texts(subject, request_id, trace_id, traceparent, idempotency_key)
    if idempotency_key == "":
        raise BadInput("The idempotency key is empty; leave it out or give it a value.")
    if prompt is not None:
        _check_prompt(prompt)
    if type in limits.reserved:
        raise Forbidden(
            f"Events of the type {type} are told by COS itself; only an administrator may import them."
        )
    kept = _encoded(data, limits) if raw_data is None else _checked(bytes(raw_data), limits)
    recorded_at = clock.now()
    return NewEvent(
        id=ids.uuid7(recorded_at),
        module=module,
        type=type,
        subject=subject,
        level=level,
        data=msgspec.Raw(kept),
        request_id=request_id,
        trace_id=trace_id,
        traceparent=traceparent,
        time=recorded_at if time is None else _in_utc(time),
        recorded_at=recorded_at,
        idempotency_key=idempotency_key,
        prompt=prompt,
    )


def _shown(value: Any) -> str:
    shown = ascii(value)
    return shown if len(shown) <= _SHOWN else shown[: _SHOWN - 3] + "…" + shown[-1]


def _in_utc(time: datetime) -> datetime:
    if time.tzinfo is None or time.utcoffset() is None:
        raise BadInput(
            f"The time {time.isoformat()} has no timezone; add one, for example {time.isoformat()}+00:00."
        )
    try:
        utc = time.astimezone(UTC)
    except OverflowError:
        raise BadInput(f"The time {time.isoformat()} is outside the years 1 to 9999 in UTC.") from None
    if utc.replace(tzinfo=None) in (datetime.min, datetime.max):  # noqa: DTZ901  (compared without a zone)
        # The driver writes these two as Postgres's infinities, which are no times.
        raise BadInput(
            f"The time {time.isoformat()} is the first or last that there is; name one that happened."
        )
    return utc


def _check_texts(
    subject: str | None,
    request_id: str | None,
    trace_id: str | None,
    traceparent: str | None,
    idempotency_key: str | None,
) -> None:
    """Check what may be absent; written out, because most of it mostly is, and each event passes here."""
    if subject is not None:
        _check_text("subject", subject, MAX_SUBJECT)
    if request_id is not None:
        _check_text("request id", request_id, MAX_ID)
    if trace_id is not None:
        _check_text("trace id", trace_id, MAX_ID)
    if traceparent is not None:
        _check_text("traceparent", traceparent, MAX_ID)
    if idempotency_key is not None:
        _check_text("idempotency key", idempotency_key, MAX_KEY)


def _check_text(what: str, text: str, most: int) -> None:
    if len(text) > most:
        raise BadInput(f"The {what} {_shown(text)} has {len(text)} characters; at most {most} are allowed.")
    if "\x00" in text:
        raise BadInput(f"The {what} {_shown(text)} holds a NUL character, which cannot be stored.")
    _check_encodable(what, text)


def _check_encodable(what: str, text: str) -> int:
    try:
        return len(text.encode())
    except UnicodeEncodeError as error:
        raise BadInput(
            f"The {what} holds half of a surrogate pair at character {error.start}, which is no valid text."
        ) from None


def _check_prompt(prompt: PromptTrace) -> None:
    for name in ("prompt", "response", "model"):
        text: str | None = getattr(prompt, name)
        if text is None:
            continue
        if not isinstance(text, str):
            raise BadInput(f"The prompt trace's {name} {_shown(text)} is not text.")
        if _check_encodable(f"prompt trace's {name}", text) > MAX_PROMPT_BYTES:
            raise TooLarge(f"The prompt trace's {name} is larger than {MAX_PROMPT_BYTES} bytes.")
        if "\x00" in text:
            raise BadInput(f"The prompt trace's {name} holds a NUL character, which cannot be stored.")
    for name in ("latency_ms", "tokens_in", "tokens_out"):
        number: Any = getattr(prompt, name)
        if number is None:
            continue
        if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number < 2**31:
            raise BadInput(
                f"The prompt trace's {name} {_shown(number)} is not a whole number from 0 to 2147483647."
            )


def _encoded(data: Any, limits: Limits) -> bytes:
    """Write Python values as JSON text; refuses what JSON or Postgres cannot hold."""
    try:
        raw = _encoder.encode(data)
    except UnicodeEncodeError:
        raise BadInput("The data holds half of a surrogate pair, which is no valid text.") from None
    except RecursionError:
        raise BadInput(f"The data is nested deeper than {limits.data_depth} levels.") from None
    except (TypeError, ValueError, OverflowError) as error:
        raise BadInput(f"The data cannot be written as JSON: {error}.") from None
    # The encoder writes NaN and the infinities as null: only a null makes it worth to look.
    if b"null" in raw and _has_non_finite(data):
        raise BadInput("The data holds NaN or an infinity, which JSON does not have; use null or text.")
    return _checked(raw, limits)


def _checked(raw: bytes, limits: Limits) -> bytes:
    """Prove that the JSON text can be read back and kept; gives it unchanged."""
    if len(raw) > limits.data_bytes:
        raise TooLarge(f"The data has {len(raw)} bytes of JSON; at most {limits.data_bytes} are allowed.")
    try:
        value = _decoder.decode(raw)
    except UnicodeDecodeError as error:
        raise BadInput(f"The data is not valid UTF-8 at byte {error.start}.") from None
    except RecursionError:
        raise BadInput(f"The data is nested deeper than {limits.data_depth} levels.") from None
    except msgspec.DecodeError as error:
        raise BadInput(f"The data is not JSON that can be kept: {error}.") from None
    # Fewer brackets than levels allowed cannot nest too deep: most events need no walk.
    if raw.count(b"{") + raw.count(b"[") > limits.data_depth and _depth(value) > limits.data_depth:
        raise BadInput(f"The data is nested deeper than {limits.data_depth} levels.")
    if b"\\u0000" in raw and _ESCAPED_NUL.search(raw) is not None:
        raise BadInput("The data holds a NUL character (\\u0000), which cannot be stored; remove it.")
    return raw


def _depth(value: Any) -> int:
    deepest = 0
    stack = [(value, 1)]
    while stack:
        item, level = stack.pop()
        children = item.values() if isinstance(item, dict) else item if isinstance(item, list) else None
        if children is None:
            continue
        deepest = max(deepest, level)
        stack.extend((child, level + 1) for child in children)
    return deepest


def _has_non_finite(data: Any) -> bool:
    stack = [data]
    while stack:
        item = stack.pop()
        if isinstance(item, float):
            if not math.isfinite(item):
                return True
        elif isinstance(item, dict):
            stack.extend(item.values())
        elif isinstance(item, list | tuple | set | frozenset):
            stack.extend(item)
    return False
