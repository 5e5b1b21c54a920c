"""How promptly this process's event loop gets round to things, as a part of health."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from cos.common import clock
from cos.common.health import Part, State

_PROBE_SECONDS = 0.05
#: A loop that is this late keeps every request waiting as long.
LATE_SECONDS = 0.5
#: Once may be anything; this often in a row is a state.
LATE_IN_A_ROW = 3


class Pace:
    """Measures how late a short timer comes; a source of the health monitor."""

    name = "process"

    def __init__(self) -> None:
        """Begin well."""
        self._late_in_a_row = 0

    async def measure(self) -> Sequence[Part]:
        """Wait 50 ms and see how much longer it took."""
        began = clock.monotonic()
        await asyncio.sleep(_PROBE_SECONDS)
        late = max(0.0, clock.monotonic() - began - _PROBE_SECONDS)
        figures = {"loop_late_ms": late * 1000}
        self._late_in_a_row = self._late_in_a_row + 1 if late >= LATE_SECONDS else 0
        if self._late_in_a_row < LATE_IN_A_ROW:
            return [Part(name="process", title="Process", state=State.OK, figures=figures)]
        return [
            Part(
                name="process",
                title="Process",
                state=State.DEGRADED,
                cause=f"The event loop of COS is {late:.1f} s late: something computes in it, or the machine is busy.",
                doing="Requests wait as long; look at the machine's load.",
                figures=figures,
            )
        ]
