"""A mission: one cause, what may be written to mend it, and what will be run to prove it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from cos.green.lease import Lease


@dataclass(frozen=True, slots=True)
class Budget:
    """Limits of one attempt: wall-clock seconds, seconds without progress, bytes of output, cost in dollars."""

    wall_s: float = 1800.0
    idle_s: float = 600.0
    output_bytes: int = 20_000_000
    cost_usd: float | None = None


@dataclass(frozen=True, slots=True)
class Mission:
    """What one agent is asked to do; `attempt` counts from 1 for the same tests."""

    id: str
    cause: str
    name: str
    pattern: str
    why: str
    wave: int
    targets: tuple[str, ...]
    write: tuple[str, ...]
    read: tuple[str, ...]
    granted: tuple[str, ...] = ()
    grant_reasons: tuple[str, ...] = ()
    granted_weakening: tuple[str, ...] = ()
    priority: int = 5
    category: str = ""
    shared: bool = False
    expected: int = 0
    attempt: int = 1
    example: str = ""
    hints: tuple[str, ...] = ()
    verify: tuple[str, ...] = ()
    budget: Budget = field(default_factory=Budget)

    @property
    def lease(self) -> Lease:
        """What may be written."""
        return Lease(self.write, self.granted)

    def as_json(self) -> dict[str, Any]:
        """Give the mission as JSON can hold it."""
        return asdict(self)


def mission_from(data: dict[str, Any]) -> Mission:
    """Build a mission again from its JSON."""
    values: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in data.items()
    }
    values["budget"] = Budget(**data.get("budget", {}))
    return Mission(**values)
