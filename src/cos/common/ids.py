"""Ids and randomness: UUIDv7 (RFC 9562, section 5.7), ordered within a process, from one injectable source."""

from __future__ import annotations

import base64
import os
import random
from collections.abc import Callable
from datetime import UTC, datetime
from uuid import UUID, SafeUUID

from cos.common import clock

_VERSION = 0x7 << 12
_VARIANT = 0b10 << 62
_COUNTER_BITS = 12
_RANDOM_MASK = (1 << 62) - 1
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Dice = random.Random

_last_stamp = 0


def uuid7(at: datetime | None = None) -> UUID:
    """Make an id that sorts by time of creation; each one of this process is greater than the one before.

    Args:
        at: the time of creation, where the caller has just asked the clock for it; now when absent.

    The 48-bit millisecond is followed by 12 bits of its fraction (RFC 9562, section 6.2, method 3). When the clock
    stands still or goes back, the stamp of the last id plus one is used instead.
    """
    global _last_stamp  # noqa: PLW0603  (the order of ids is the process's)
    since = (at or clock.now()) - _EPOCH
    milliseconds, microseconds = divmod(since.microseconds, 1000)
    milliseconds += (since.days * 86400 + since.seconds) * 1000
    stamp = (milliseconds << _COUNTER_BITS) | (microseconds * 4096 // 1000)
    if stamp <= _last_stamp:
        stamp = _last_stamp + 1
    _last_stamp = stamp
    head = (stamp >> _COUNTER_BITS) << 16 | _VERSION | stamp & 0xFFF
    tail = int.from_bytes(os.urandom(8), "big") & _RANDOM_MASK | _VARIANT
    return _uuid(head << 64 | tail)


def _uuid(
    number: int,
    new: Callable[[type[UUID]], UUID] = object.__new__,
    put: Callable[[object, str, object], None] = object.__setattr__,
    safety: SafeUUID = SafeUUID.unknown,
) -> UUID:
    """Make a UUID of a number that is known to fit: its own constructor costs as much as all the rest of an id."""
    made = new(UUID)
    put(made, "int", number)
    put(made, "is_safe", safety)
    return made


def random_hex(size: int) -> str:
    """Give `size` random bytes as lower-case hex."""
    return os.urandom(size).hex()


def secret(size: int) -> str:
    """Give `size` random bytes as base64 for URLs, without padding: for what nobody may guess."""
    return base64.urlsafe_b64encode(os.urandom(size)).rstrip(b"=").decode()


def jitter(seconds: float) -> float:
    """Give a random share of `seconds`, between a half and the whole, so that many do not retry at once."""
    return seconds * (0.5 + random.random() / 2)  # noqa: S311  (spreads load, guards nothing)


def dice(seed: int) -> Dice:
    """Give draws that are the same for the same seed, for an order or a sample that must be repeatable."""
    return random.Random(seed)  # noqa: S311  (repeatable draws, not a secret)
