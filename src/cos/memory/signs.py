"""The log's and the highway's own parts of health: Postgres, Redis, the relay, and what holds it back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from cos.common.circuit_breaker import CircuitBreaker
from cos.common.circuit_breaker import State as BreakerState
from cos.common.health import Part, State
from cos.memory.vitals import Vitals

if TYPE_CHECKING:
    from cos.memory.vitals import Gauge, Holder

#: A relay this far behind is worth a word.
LAG_SECONDS = 10.0


class Signs:
    """Measures what COS stands on; a source of the health monitor."""

    name = "highway"

    def __init__(self, *, gauge: Gauge, breaker: CircuitBreaker, moved: Callable[[], int]) -> None:
        """Take what is measured.

        Args:
            gauge: of Postgres, Redis and the streams.
            breaker: in front of Redis.
            moved: tells how many events this process's relay has moved.
        """
        self._gauge = gauge
        self._breaker = breaker
        self._moved = moved
        self.last = Vitals()

    async def measure(self) -> Sequence[Part]:
        """Measure all three; never raises."""
        vitals = self.last = await self._gauge.measure()
        return [self._postgres(vitals), self._redis(vitals), self._relay(vitals)]

    def _postgres(self, vitals: Vitals) -> Part:
        figures = _known(
            records=vitals.records,
            answer_ms=vitals.postgres_ms,
            log_bytes=vitals.log_bytes,
            database_bytes=vitals.database_bytes,
        )
        if vitals.postgres_answers:
            return Part(name="postgres", title="Postgres", vital=True, state=State.OK, figures=figures)
        return Part(
            name="postgres",
            title="Postgres",
            vital=True,
            state=State.DOWN,
            cause=_cause(vitals, "Postgres"),
            doing="Nothing can be recorded until it answers; COS tries again by itself.",
            figures=figures,
        )

    def _redis(self, vitals: Vitals) -> Part:
        breaker = self._breaker.snapshot()
        figures = _known(
            answer_ms=vitals.redis_ms,
            breaker_failures=breaker.failure_count,
            entries=sum(stream.length for stream in vitals.streams.values()) if vitals.streams else None,
        )
        if not vitals.redis_answers:
            return Part(
                name="redis",
                title="Redis",
                state=State.DOWN,
                cause=_cause(vitals, "Redis"),
                doing="Recording and reading go on; the streams catch up by themselves when it is back.",
                figures=figures,
            )
        if breaker.state is not BreakerState.CLOSED:
            return Part(
                name="redis",
                title="Redis",
                state=State.DEGRADED,
                cause=f"Redis answers again, after {breaker.failure_count} failures in a row.",
                doing="The next call that succeeds closes the circuit breaker.",
                figures=figures,
            )
        return Part(name="redis", title="Redis", state=State.OK, figures=figures)

    def _relay(self, vitals: Vitals) -> Part:
        figures = _known(
            lag_events=vitals.lag_events,
            lag_seconds=vitals.lag_seconds,
            moved=self._moved(),
            held_seconds=None if vitals.holder is None else vitals.holder.open_seconds,
        )
        if vitals.lag_events is None or vitals.lag_seconds is None:
            return Part(name="relay", title="Relay", state=State.UNKNOWN, figures=figures)
        if vitals.lag_seconds <= LAG_SECONDS:
            return Part(name="relay", title="Relay", state=State.OK, figures=figures)
        behind = f"The relay is {vitals.lag_events} events and {vitals.lag_seconds:.0f} s behind"
        if vitals.holder is None:
            cause, doing = f"{behind}.", "It catches up by itself."
        else:
            cause, doing = f"{behind}: {_held_by(vitals.holder)} holds it back.", _how_to_end(vitals.holder)
        return Part(
            name="relay", title="Relay", state=State.DEGRADED, cause=cause, doing=doing, figures=figures
        )


def _cause(vitals: Vitals, name: str) -> str | None:
    return next((cause for cause in vitals.causes if name in cause), None)


def _held_by(holder: Holder) -> str:
    who = f"of {holder.name or 'an unnamed program'} in {holder.database}"
    if holder.pid is None:
        return f"the prepared transaction {who}, {holder.open_seconds:.0f} s old,"
    return f"a transaction {who} (pid {holder.pid}, {holder.state}), open for {holder.open_seconds:.0f} s,"


def _how_to_end(holder: Holder) -> str:
    ending = (
        f"ROLLBACK PREPARED '{holder.name}'"
        if holder.pid is None
        else f"SELECT pg_terminate_backend({holder.pid})"
    )
    return f"The relay goes on as soon as it ends; to end it: {ending}."


def _known(**figures: float | None) -> dict[str, float]:
    return {name: value for name, value in figures.items() if value is not None}
