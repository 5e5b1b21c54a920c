"""The metrics of this process in Prometheus's text format: read from what is there already, at the moment of asking.

Nothing is counted for the metrics alone but requests; what is not measured is absent.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from fastapi import Request, Response
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.registry import Collector

from cos.common import clock
from cos.common.circuit_breaker import State
from cos.common.health import State as HealthState

if TYPE_CHECKING:
    from prometheus_client.core import Metric

    from cos.backend.deps import Services

_BREAKER = {State.CLOSED: 0, State.OPEN: 1, State.HALF_OPEN: 2}
_HEALTH = {HealthState.OK: 0, HealthState.DEGRADED: 1, HealthState.DOWN: 2}

#: What the health monitor measures, by `part.figure`: the metric's name, its help, and what a figure is multiplied by.
MEASURED = {
    "postgres.records": ("cos_records", "Records in the log.", 1),
    "postgres.answer_ms": ("cos_postgres_answer_seconds", "How long Postgres takes to answer.", 1e-3),
    "postgres.log_bytes": ("cos_log_bytes", "Size of the log with its indexes.", 1),
    "postgres.database_bytes": ("cos_database_bytes", "Size of the database.", 1),
    "redis.answer_ms": ("cos_redis_answer_seconds", "How long Redis takes to answer.", 1e-3),
    "redis.entries": ("cos_stream_entries", "Entries of all streams.", 1),
    "relay.lag_events": ("cos_relay_lag_events", "Committed events that no stream has yet.", 1),
    "relay.lag_seconds": ("cos_relay_lag_seconds", "Age of the oldest of them.", 1),
    "relay.held_seconds": (
        "cos_relay_held_seconds",
        "Age of the open transaction that holds the relay back.",
        1,
    ),
    "webhooks.active": ("cos_webhooks_active", "Webhooks whose events are taken.", 1),
    "webhooks.failing": ("cos_webhooks_failing", "Webhooks whose last try failed.", 1),
    "webhooks.paused": ("cos_webhooks_paused", "Webhooks that a person stopped.", 1),
    "webhooks.disabled": ("cos_webhooks_disabled", "Webhooks that COS stopped.", 1),
    "disk.free_bytes": ("cos_disk_free_bytes", "Free space under the data folder.", 1),
    "process.loop_late_ms": ("cos_loop_late_seconds", "How late a timer of this process comes.", 1e-3),
}


class Requests:
    """Counts answers by method, route and status; the one thing that is counted for the metrics alone."""

    def __init__(self) -> None:
        """Begin at nothing."""
        self.counts: dict[tuple[str, str, int], int] = {}
        self.seconds: dict[tuple[str, str], float] = {}

    def count(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one answer."""
        key = (method, route, status)
        self.counts[key] = self.counts.get(key, 0) + 1
        self.seconds[method, route] = self.seconds.get((method, route), 0.0) + seconds


class Measures(Collector):
    """Reads the services when Prometheus asks."""

    def __init__(self, *, services: Services, requests: Requests) -> None:
        """Take what is read."""
        self._services = services
        self._requests = requests

    def describe(self) -> Iterable[Metric]:
        """Say nothing beforehand: what is measured differs from moment to moment."""
        return []

    def collect(self) -> Iterable[Metric]:
        """Give every figure that is known now."""
        yield from self._named_by_contract()
        yield from self._measured()
        yield from self._counted()
        yield from self._webhooks()

    def _named_by_contract(self) -> Iterable[Metric]:
        services = self._services
        seen, vitals = services.breaker.snapshot(), services.signs.last
        yield GaugeMetricFamily(
            "circuit_breaker_state", "Breaker of Redis: 0 closed, 1 open, 2 half-open.", _BREAKER[seen.state]
        )
        counts = services.breaker.counts
        for name, says, count in (
            ("failures", "Calls to Redis that failed.", counts.failures),
            ("calls", "Calls to Redis that its breaker let through.", counts.calls),
            ("refused", "Calls to Redis that its breaker refused.", counts.refused),
            ("slow", "Calls to Redis that took longer than allowed.", counts.slow),
            ("opened", "How often the breaker of Redis stopped letting calls through.", counts.opened),
            ("closed", "How often the breaker of Redis began to let calls through again.", counts.closed),
        ):
            yield CounterMetricFamily(f"circuit_breaker_{name}", says, count)
        dead = GaugeMetricFamily("dlq_size", "Dead letters of a group.", labels=["channel"])
        for group, letters in vitals.dead_letters.items():
            dead.add_metric([group], letters.size)
        yield dead
        uptime = clock.monotonic() - services.started_at_seconds
        yield GaugeMetricFamily("service_uptime_seconds", "How long this process serves.", uptime)
        yield GaugeMetricFamily("redis_connected", "Whether Redis answers.", float(vitals.redis_answers))
        yield GaugeMetricFamily(
            "subscriber_inflight_messages",
            "Events that this process's handlers work on.",
            services.in_flight(),
        )

    def _measured(self) -> Iterable[Metric]:
        report = self._services.monitor.last
        if report is None:
            return
        states = GaugeMetricFamily(
            "cos_health", "State of a part: 0 ok, 1 degraded, 2 down.", labels=["part"]
        )
        for part in report.parts:
            if part.state in _HEALTH:
                states.add_metric([part.name], _HEALTH[part.state])
            for figure, value in part.figures.items():
                if (known := MEASURED.get(f"{part.name}.{figure}")) is not None:
                    name, told, factor = known
                    yield GaugeMetricFamily(name, told, value * factor)
        yield states

    def _counted(self) -> Iterable[Metric]:
        services = self._services
        moved = next((p.figures["moved"] for p in self._parts() if "moved" in p.figures), None)
        if moved is not None:
            yield CounterMetricFamily(
                "cos_relay_moved", "Events that this process's relay has announced.", moved
            )
        waiting = services.recorder.waiting_records
        yield GaugeMetricFamily("cos_recorder_waiting", "Records that wait for the group commit.", waiting)
        answers = CounterMetricFamily(
            "cos_http_requests", "Answers by route and status.", labels=["method", "route", "status"]
        )
        for (method, route, status), number in list(self._requests.counts.items()):
            answers.add_metric([method, route, str(status)], number)
        yield answers
        seconds = CounterMetricFamily(
            "cos_http_request_seconds", "Time spent on them.", labels=["method", "route"]
        )
        for (method, route), value in list(self._requests.seconds.items()):
            seconds.add_metric([method, route], value)
        yield seconds

    def _webhooks(self) -> Iterable[Metric]:
        sender = self._services.webhooks.sender
        for name, says, count in (
            ("tries", "Tries of webhooks that this process made.", sender.tries),
            ("failures", "How many of them were not taken.", sender.failures),
            ("try_seconds", "Time spent on them.", sender.seconds),
        ):
            yield CounterMetricFamily(f"cos_webhook_{name}", says, count)
        yield GaugeMetricFamily("cos_webhook_inflight", "Tries under way in this process.", sender.under_way)
        left_alone = sum(one.state is not State.CLOSED for one in sender.breakers.values())
        yield GaugeMetricFamily(
            "cos_webhook_hosts_left_alone", "Hosts that fail and are left alone.", left_alone
        )

    def _parts(self) -> tuple[Any, ...]:
        report = self._services.monitor.last
        return () if report is None else report.parts


def registry_of(services: Services, requests: Requests) -> CollectorRegistry:
    """Make the registry of one app; nothing is registered in the process's own."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(Measures(services=services, requests=requests))
    return registry


def metrics_answer(request: Request) -> Response:
    """Give all metrics as text."""
    text = generate_latest(request.app.state.metrics)
    return Response(text, headers={"Content-Type": CONTENT_TYPE_PLAIN_0_0_4})
