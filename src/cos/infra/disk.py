"""The disk under the data folder, as a part of health."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Sequence
from pathlib import Path

from cos.common.health import Part, State

#: Below this much free space, in bytes, there is a word to say; below the second, soon nothing can be recorded.
LOW_BYTES = 2 * 1024**3
FULL_BYTES = 256 * 1024**2


class Disk:
    """Measures the free space under a folder; a source of the health monitor."""

    name = "disk"

    def __init__(self, *, folder: Path) -> None:
        """Take the folder; it must exist."""
        self._folder = folder

    async def measure(self) -> Sequence[Part]:
        """Measure; raises OSError when the folder cannot be reached."""
        usage = await asyncio.to_thread(shutil.disk_usage, self._folder)
        figures = {"free_bytes": float(usage.free), "total_bytes": float(usage.total)}
        free = f"{usage.free / 1024**3:.1f} GiB"
        if usage.free >= LOW_BYTES:
            return [Part(name="disk", title="Disk", state=State.OK, figures=figures)]
        nearly = "nearly full" if usage.free < FULL_BYTES else "low on space"
        return [
            Part(
                name="disk",
                title="Disk",
                state=State.DEGRADED,
                cause=f"The disk under {self._folder} is {nearly}: {free} are free.",
                doing="Free some space; when nothing is left, nothing can be recorded.",
                figures=figures,
            )
        ]
