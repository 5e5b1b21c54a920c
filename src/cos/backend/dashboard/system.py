"""The system: streams, breakers, storage."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cos.backend.dashboard.storage import storage

if TYPE_CHECKING:
    from cos.backend.dashboard.view import Asked


async def load(asked: Asked) -> dict[str, Any]:
    """Read what the system view shows."""
    vitals = asked.report.vitals
    breaker = asked.services.breaker.snapshot()
    streams = [
        {"module": module, **{n: getattr(one, n) for n in ("length", "last_position", "generation")}}
        for module, one in sorted(vitals.streams.items())
    ]
    return {
        "streams": streams if vitals.redis_answers and vitals.postgres_answers else None,
        "breakers": [
            {
                "name": "Redis",
                "state": breaker.state.value.lower().replace("_", "-"),
                "failures": breaker.failure_count,
                "last_failure": breaker.last_failure_time,
            }
        ],
        "storage": await storage(asked.services),
    }
