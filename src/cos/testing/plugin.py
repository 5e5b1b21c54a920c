"""The pytest plugin `cos`: brings in its parts, each of which does nothing until a test asks for it.

A part is a module here with hooks and fixtures. It may import `pytest` and what is cheap; whatever takes time to
import, or starts anything, belongs inside its fixtures. A part that is not there is left out.
"""

from __future__ import annotations

from pathlib import Path

_PARTS = (
    "services",
    "isolation",
    "faults",
    "loops",
    "commits",
    "overrides",
    "benchmarks",
    "order",
    "flakes",
    "report",
    "plain_failure",
)
_HERE = Path(__file__)

pytest_plugins = [f"cos.testing.{name}" for name in _PARTS if _HERE.with_name(f"{name}.py").is_file()]
