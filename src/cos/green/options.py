"""What a run was asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cos.green.mission import Budget


@dataclass(frozen=True, slots=True)
class Options:
    """What a run was asked for; kept in its first event, so that `resume` goes on with the same."""

    agent: str
    agents: int = 2
    attempts: int = 2
    python: str | None = None
    suite_limit_s: float = 1800.0
    grant: tuple[str, ...] = ()
    grant_weakening: tuple[str, ...] = ()
    wall_s: float = 1800.0
    idle_s: float = 600.0
    output_bytes: int = 20_000_000
    cost_usd: float | None = None
    l1: str | None = None

    @property
    def budget(self) -> Budget:
        """Limits of one attempt."""
        return Budget(self.wall_s, self.idle_s, self.output_bytes, self.cost_usd)


def options_from(data: dict[str, Any]) -> Options:
    """Build options again from their JSON."""
    values: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in data.items()
    }
    return Options(**values)
