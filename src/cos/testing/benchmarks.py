"""The fixture `bench`: comparisons in tests, held to ratios; an absolute bound needs the mark `tripwire`."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from cos.errors import BadInput, CosError

if TYPE_CHECKING:
    from cos.testing.benchmark import Side
    from cos.testing.comparison import Comparison, Measured

_NAME = "cos_measured"


class Tripped(CosError, AssertionError):
    """An absolute bound was crossed."""

    slug = "tripped"


class Bench:
    """Measures in a test, and keeps what it measured for the end of the run and for the report."""

    def __init__(self, item: pytest.Item) -> None:
        self._item = item

    def compare(self, a: Side, b: Side, **how: Any) -> Comparison:
        """Measure `a` against `b`; `cos.testing.benchmark.compare` has the arguments and errors."""
        __tracebackhide__ = True
        from cos.testing.benchmark import compare  # noqa: PLC0415  (loaded where it is used)

        with self._keeping():
            return self._held(compare(a, b, **self._named(how)))

    async def compare_async(self, a: Side, b: Side, **how: Any) -> Comparison:
        """Measure in the running loop."""
        __tracebackhide__ = True
        from cos.testing.benchmark import compare_async  # noqa: PLC0415

        with self._keeping():
            return self._held(await compare_async(a, b, **self._named(how)))

    def compare_revisions(self, a: str, b: str, command: Sequence[str], **how: Any) -> Comparison:
        """Measure a command at two revisions; `cos.testing.revisions.compare_revisions` has the arguments."""
        __tracebackhide__ = True
        from cos.testing.revisions import compare_revisions  # noqa: PLC0415

        with self._keeping():
            return self._held(compare_revisions(a, b, command, **self._named(how)))

    def tripwire(self, side: Measured, **bounds: float) -> None:
        """Hold one side to absolute bounds, in a test with the mark `tripwire`.

        Args:
            side: of a comparison.
            **bounds: the most of `latency_ms_p50`, `latency_ms_p95`, `latency_ms_p99`, `latency_ms_max`, `cpu_ms` or
                `memory_peak_bytes`.

        Raises:
            BadInput: the test has no such mark, or there is no such figure.
            Tripped: a figure is above its bound.
        """
        __tracebackhide__ = True
        if self._item.get_closest_marker("tripwire") is None:
            raise BadInput(
                f"{self._item.nodeid} sets an absolute bound, which says more of the machine than of the code: hold a "
                "ratio with compare(…, at_most=…), or mark the test with @pytest.mark.tripwire."
            )
        for name, most in bounds.items():
            value = getattr(side, name, None) if name != "name" else None
            if not isinstance(value, (int, float)):
                raise BadInput(
                    f"There is no figure {name!r} of {side.name}: give one such as latency_ms_p95."
                )
            if value > most:
                raise Tripped(f"{name} of {side.name} is {value:.4g}, allowed is {most:g}.")

    def _named(self, how: dict[str, Any]) -> dict[str, Any]:
        return {"name": self._item.name} | how

    @contextmanager
    def _keeping(self) -> Generator[None]:
        """Keep also what was too slow."""
        from cos.testing.comparison import TooSlow  # noqa: PLC0415

        __tracebackhide__ = True
        try:
            yield
        except TooSlow as error:
            if error.comparison is not None:
                self._held(error.comparison)
            raise

    def _held(self, comparison: Comparison) -> Comparison:
        self._item.user_properties.append((_NAME, comparison.as_json()))
        return comparison


@pytest.fixture
def bench(request: pytest.FixtureRequest) -> Bench:
    """Compare two ways to do something: `bench.compare(new, old, at_most=1.10)`."""
    return Bench(request.node)


def pytest_configure(config: pytest.Config) -> None:
    """Know the mark."""
    config.addinivalue_line(
        "markers", "tripwire: this test holds an absolute bound, which depends on the machine."
    )


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Tell what was measured, as a table."""
    rows = [
        value
        for reports in terminalreporter.stats.values()
        for report in reports
        if getattr(report, "when", "") == "call"
        for name, value in report.user_properties
        if name == _NAME and "ratio" in value
    ]
    if not rows:
        return
    terminalreporter.section("time of a over time of b")
    width = max(len(row["name"]) for row in rows)
    terminalreporter.write_line(f"{'':{width}}  ratio  99 % interval   bound  a p50, p95, p99 ms; CPU ms; MB")
    for row in rows:
        a = row["a"]
        bound = "-" if row["at_most"] is None else f"{row['at_most']:g}"
        memory = "-" if a["memory_peak_bytes"] is None else f"{a['memory_peak_bytes'] / 1e6:.3g}"
        terminalreporter.write_line(
            f"{row['name']:{width}}  {row['ratio']:5.3f}  {row['ratio_low']:5.3f} to {row['ratio_high']:5.3f}  "
            f"{bound:>5}  {a['latency_ms_p50']:.3g}, {a['latency_ms_p95']:.3g}, {a['latency_ms_p99']:.3g}; "
            f"{a['cpu_ms']:.3g}; {memory}"
        )
