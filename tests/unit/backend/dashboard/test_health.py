"""What the page tells of each part: its figures in words, and nothing that was not measured."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, cast

import pytest

from cos.backend.dashboard.health import report
from cos.backend.deps import Services
from cos.common.health import Part, State
from cos.common.monitor import Monitor


class Told:
    """A source that gives one part."""

    def __init__(self, part: Part) -> None:
        self.name, self._part = part.name, part

    async def measure(self) -> Sequence[Part]:
        return [self._part]


async def facts(name: str, figures: dict[str, float]) -> Any:
    part = Part(name=name, title=name, state=State.OK, figures=figures)
    services = SimpleNamespace(monitor=Monitor(sources=[Told(part)]), signs=SimpleNamespace(last=None))
    [shown] = (await report(cast("Services", services))).parts
    return shown.facts


@pytest.mark.parametrize(
    ("figures", "told"),
    [
        ({"active": 0.0, "failing": 0.0, "paused": 0.0, "disabled": 0.0}, (("in use", "0"),)),
        ({"active": 1200.0, "failing": 0.0, "disabled": 2.0}, (("in use", "1,200"), ("disabled", "2"))),
        ({"paused": 1.0, "failing": 3.0}, (("failing", "3"), ("paused", "1"))),
    ],
)
async def test_webhooks_are_told_by_their_state(figures, told) -> None:
    """Where there is none it says so, and not that it has yet to look."""
    assert await facts("webhooks", figures) == told


async def test_what_was_not_measured_is_absent() -> None:
    assert await facts("relay", {"lag_events": 1.0}) == (("waits to be announced", "1 event"),)
    assert await facts("relay", {}) == ()
