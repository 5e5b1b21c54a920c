"""Redis as this process sees it: its connections, how it answers, what it tells of itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cos.backend.cc.schemas import BreakerState, ConnectionPool, RedisHealth, RedisPerformance
from cos.common import clock
from cos.common import redis as redis_client
from cos.common.circuit_breaker import BreakerOpen, State

if TYPE_CHECKING:
    from cos.backend.deps import Services

#: What of Redis's own words is shown.
_TOLD = (
    "redis_version", "uptime_in_seconds", "connected_clients", "blocked_clients", "used_memory", "used_memory_peak",
    "maxmemory", "mem_fragmentation_ratio", "total_commands_processed", "instantaneous_ops_per_sec", "evicted_keys",
    "aof_enabled", "aof_last_write_status", "loading",
)  # fmt: skip


def breaker_state(services: Services) -> BreakerState:
    """Give the state of the breaker in front of Redis."""
    seen = services.breaker.snapshot()
    return BreakerState(
        state=seen.state.value,
        failure_count=seen.failure_count,
        last_failure_time=seen.last_failure_time,
        next_attempt_time=seen.next_attempt_time,
    )


async def redis_health(services: Services) -> RedisHealth:
    """Measure now; what does not answer is told, never raised."""
    info: dict[str, Any] = {}
    error: str | None = None
    performance = RedisPerformance()
    try:
        began = clock.monotonic()
        info = await services.breaker.call(services.redis.info)
        performance.ping_latency_ms = round((clock.monotonic() - began) * 1000, 3)
        performance.last_successful_operation = clock.now()
        performance.operations_per_second = float(info.get("instantaneous_ops_per_sec", 0))
    except BreakerOpen as refused:
        error = refused.detail
    except redis_client.LOST as lost:
        error = redis_client.connect_error(services.redis_url, lost).detail
    state = services.breaker.state
    healthy = "healthy" if state is State.CLOSED else "degraded"
    return RedisHealth(
        status="unhealthy" if error else healthy,
        timestamp=clock.now(),
        connection_pool=_pool(services),
        performance_metrics=performance,
        redis_info={name: info[name] for name in _TOLD if name in info}
        | {name: value for name, value in info.items() if name.startswith("db")},
        circuit_breaker=breaker_state(services),
        error=error,
    )


def _pool(services: Services) -> ConnectionPool:
    pool: Any = services.redis.connection_pool
    active, idle = len(pool._in_use_connections), len(pool._available_connections)  # noqa: SLF001  (no public count)
    return ConnectionPool(
        max_connections=pool.max_connections,
        active_connections=active,
        idle_connections=idle,
        status="exhausted" if active >= pool.max_connections else "ok",
    )
