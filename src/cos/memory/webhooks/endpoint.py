"""What is known of one webhook endpoint, and the rules by which all are served.

States, and who moves them:

- *active*: events are delivered. While tries fail it is shown as *failing*; one delivery that is taken ends that.
- *paused*: a person stopped it; its place in the log stays. A person resumes it.
- *disabled*: COS stopped it, because it failed for too long or answered 410. A person enables it again, to go on where
  it stood or from now.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from cos.common import webhook_signature
from cos.common.target import Target
from cos.errors import BadSetting
from cos.memory.position import Position
from cos.memory.selection import Selection

if TYPE_CHECKING:
    from collections.abc import Mapping

GROUP = "webhook:"


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """The rules; all times in seconds.

    Attributes:
        retry_seconds: the pauses before the second try and each later one; then the event is a dead letter.
        retry_after_seconds: the longest pause that an answer may ask for.
        refused_tries: tries of an event that the endpoint refuses as such (400, 413, 415, 422).
        deadline_seconds: for one try, from the look-up of the name to the end of the answer.
        disable_seconds: an endpoint that fails so long is disabled,
        disable_failures: if so many tries in a row have failed at least.
        concurrency: tries at once in one process.
        lease_seconds: how long an endpoint stays with a process that falls silent.
        breaker_failures: tries in a row that fail at one host, whichever endpoint they are for, before it is left alone
        breaker_seconds: for so long.
        attempts_kept: of each endpoint, to look at.
    """

    retry_seconds: tuple[float, ...] = (5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400)
    retry_after_seconds: float = 86_400.0
    refused_tries: int = 3
    deadline_seconds: float = 15.0
    disable_seconds: float = 432_000.0
    disable_failures: int = 5
    concurrency: int = 50
    lease_seconds: float = 10.0
    breaker_failures: int = 5
    breaker_seconds: float = 10.0
    attempts_kept: int = 100

    def pause(self, tries: int) -> float | None:
        """Give the pause after so many tries; None when they were enough."""
        return self.retry_seconds[tries - 1] if tries <= len(self.retry_seconds) else None

    @property
    def longest_pause(self) -> float:
        """Give the longest pause that there can be."""
        return max(*self.retry_seconds, self.retry_after_seconds)


def read_pauses(text: str) -> tuple[float, ...]:
    """Read pauses that are separated by commas; raises BadSetting."""
    try:
        found = tuple(float(one) for one in text.split(","))
    except ValueError:
        found = ()
    if not found or not all(0 <= one <= 31 * 86_400 for one in found):
        raise BadSetting(
            f"COS_WEBHOOK_RETRY_SECONDS is {text[:60]!r}; it takes seconds by commas, like 5,300,1800."
        )
    return found


@dataclass(slots=True, kw_only=True)
class Endpoint:
    """One endpoint as a process serves it.

    Attributes:
        id: of the endpoint.
        epoch: rises with each change of a person; what was begun under an earlier one changes nothing any more.
        target: where to post to.
        selection: which events it gets.
        secrets: the living ones, newest first, each with its end.
        position: up to here everything was delivered, or is a dead letter.
        tries: made of the next event.
        next_try_at: not before; None for at once.
        failing_since: when the first of the failures in a row was; None while nothing fails.
        failures: tries in a row that failed.
        error: of the last one.
        delivered: events that it took.
        buried: events that became dead letters.
        last_delivered_at: when it took one last.
    """

    id: UUID
    epoch: int
    target: Target
    selection: Selection
    secrets: list[tuple[bytes, datetime | None]] = field(repr=False)
    position: Position
    tries: int = 0
    next_try_at: datetime | None = None
    failing_since: datetime | None = None
    failures: int = 0
    error: str | None = None
    delivered: int = 0
    buried: int = 0
    last_delivered_at: datetime | None = None

    @property
    def group(self) -> str:
        """Give the group under which its dead letters are kept."""
        return f"{GROUP}{self.id}"

    def keys(self, at: datetime) -> list[bytes]:
        """Give the keys that sign at a time, newest first."""
        return [key for key, end in self.secrets if end is None or end > at]


def read(row: Mapping[str, Any]) -> Endpoint:
    """Read an endpoint from its row, with its secrets and their ends in two lists."""
    return Endpoint(
        id=row["id"],
        epoch=row["epoch"],
        target=Target.parse(row["url"]),
        selection=Selection.of(modules=row["modules"], types=row["types"], subjects=row["subjects"]),
        secrets=[
            (webhook_signature.key_of(one), end)
            for one, end in zip(row["secrets"], row["secret_ends"], strict=True)
        ],
        position=Position(row["xact"], row["seq"]),
        tries=row["attempts"],
        next_try_at=row["next_attempt_at"],
        failing_since=row["failing_since"],
        failures=row["failures"],
        error=row["error"],
        delivered=row["delivered"],
        buried=row["buried"],
        last_delivered_at=row["last_delivered_at"],
    )
