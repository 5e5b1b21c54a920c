"""Makes one try: signs the event, posts it, and says what the answer means."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

import cos
from cos.common import clock, ids, webhook_signature
from cos.common.circuit_breaker import BreakerOpen, CircuitBreaker, State
from cos.common.outbound import NoAnswer, Outbound, Refused

if TYPE_CHECKING:
    from cos.common.outbound import Answer
    from cos.memory.webhooks.endpoint import Endpoint, Policy

_GOOD = range(200, 300)
_REDIRECTS = range(300, 400)
_HOST_FAILS = range(500, 600)
_GONE = 410
#: The event itself is refused: it will not be taken later either.
_EVENT_REFUSED = frozenset({400, 413, 415, 422})
_THROTTLED = frozenset({429, 503})
#: A host whose breaker is half-open is asked by somebody else at the moment.
_SOON_SECONDS = 1.0
#: Breakers of hosts that nobody calls any more are forgotten past so many.
_MOST_BREAKERS = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a try came to.

    Attributes:
        delivered: whether the endpoint took it (2xx).
        status: of the answer, None without one.
        error: what is wrong, in a sentence.
        milliseconds: that it took.
        retry_after_seconds: the pause that the answer asks for, within bounds.
        gone: the endpoint wants no more (410).
        refused: the event itself is refused.
        throttled: it shall come later, which says nothing about the event.
        not_tried_seconds: no try was made, for the host is left alone; ask again then.
    """

    delivered: bool
    status: int | None = None
    error: str | None = None
    milliseconds: float = 0.0
    retry_after_seconds: float | None = None
    gone: bool = False
    refused: bool = False
    throttled: bool = False
    not_tried_seconds: float | None = None


class _HostFails(Exception):
    """What the host did counts against it."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome.error)
        self.outcome = outcome


class Sender:
    """Makes tries for all endpoints of a process, so many at once; one circuit breaker a host."""

    def __init__(self, *, outbound: Outbound, policy: Policy) -> None:
        """Take what posts, and the rules."""
        self.tries = 0
        self.failures = 0
        self.under_way = 0
        self.seconds = 0.0
        self._outbound = outbound
        self._policy = policy
        self._slots = asyncio.Semaphore(policy.concurrency)
        self._breakers: dict[str, CircuitBreaker] = {}

    @property
    def breakers(self) -> dict[str, CircuitBreaker]:
        """Give the breakers, by host and port."""
        return self._breakers

    async def send(
        self, endpoint: Endpoint, *, message_id: str, body: bytes, traceparent: str | None = None
    ) -> Outcome:
        """Make one try, waiting for its turn first; whatever happens is told by the outcome."""
        breaker = self._breaker(endpoint.target.origin)
        async with self._slots:
            try:
                return await breaker.call(lambda: self._try(endpoint, message_id, body, traceparent))
            except _HostFails as failed:
                return failed.outcome
            except BreakerOpen as refused:
                # Half-open: somebody else asks at this moment.
                wait = self.left_alone(endpoint) or min(_SOON_SECONDS, self._policy.breaker_seconds)
                return Outcome(delivered=False, error=refused.detail, not_tried_seconds=ids.jitter(wait * 2))

    def left_alone(self, endpoint: Endpoint) -> float:
        """Give how many seconds the endpoint's host is left alone still; 0 when it may be asked."""
        due = self._breaker(endpoint.target.origin).snapshot().next_attempt_time
        left = 0.0 if due is None else (due - clock.now()).total_seconds()
        return min(max(left, 0.0), self._policy.breaker_seconds)

    async def _try(
        self, endpoint: Endpoint, message_id: str, body: bytes, traceparent: str | None
    ) -> Outcome:
        now = clock.now()
        headers = webhook_signature.headers(
            message_id=message_id, at=now, body=body, keys=endpoint.keys(now)
        ) | {
            "content-type": "application/json",
            "user-agent": f"COS/{cos.__version__}",
            "accept": "*/*",
        }
        if traceparent is not None:
            headers["traceparent"] = traceparent
        began = clock.monotonic()
        self.tries += 1
        self.under_way += 1
        try:
            answer = await self._outbound.post(
                endpoint.target, headers, body, deadline_seconds=self._policy.deadline_seconds
            )
        except (NoAnswer, Refused) as error:
            took = 1000 * (clock.monotonic() - began)
            outcome = Outcome(delivered=False, error=str(error), milliseconds=took)
        else:
            outcome = judge(answer, self._policy)
        finally:
            self.under_way -= 1
            self.seconds += clock.monotonic() - began
        if not outcome.delivered:
            self.failures += 1
        host_fails = outcome.status in _HOST_FAILS if outcome.status is not None else not outcome.delivered
        if host_fails and not outcome.throttled:
            raise _HostFails(outcome)
        return outcome

    def _breaker(self, origin: str) -> CircuitBreaker:
        found = self._breakers.get(origin)
        if found is None:
            if len(self._breakers) >= _MOST_BREAKERS:
                closed = [name for name, one in self._breakers.items() if one.state is State.CLOSED]
                for name in closed:
                    del self._breakers[name]
            found = self._breakers[origin] = CircuitBreaker(
                name=origin,
                failures=(_HostFails,),
                failure_threshold=self._policy.breaker_failures,
                reset_seconds=self._policy.breaker_seconds,
            )
        return found


def judge(answer: Answer, policy: Policy) -> Outcome:
    """Say what an answer means."""
    status = answer.status
    if status in _GOOD:
        return Outcome(delivered=True, status=status, milliseconds=answer.milliseconds)
    pause = _pause(answer.retry_after, policy.retry_after_seconds)
    said = f": {answer.excerpt}" if answer.excerpt else "."
    if status == _GONE:
        error = "It answered 410 Gone: it wants no more events."
    elif status in _REDIRECTS:
        error = f"It answered {status}; redirects are not followed: change the URL instead."
    else:
        error = f"It answered {status}{said}"
    return Outcome(
        delivered=False,
        status=status,
        error=error,
        milliseconds=answer.milliseconds,
        retry_after_seconds=pause,
        gone=status == _GONE,
        refused=status in _EVENT_REFUSED,
        throttled=status in _THROTTLED and pause is not None,
    )


def _pause(text: str | None, most: float) -> float | None:
    """Read a Retry-After header: seconds, or a date of HTTP."""
    if text is None:
        return None
    text = text.strip()
    if text.isascii() and text.isdigit():
        return min(float(text[:12]), most)
    try:
        at = parsedate_to_datetime(text)
    except ValueError:
        return None
    return min(max((_aware(at) - clock.now()).total_seconds(), 0.0), most)


def _aware(at: datetime) -> datetime:
    return at if at.tzinfo is not None else at.replace(tzinfo=UTC)
