"""Measures how long things take: apart from the clock, as a test that moves that must not move a measurement."""

from __future__ import annotations

import time
from pathlib import Path

seconds = time.perf_counter
"""Give seconds from an unknown start; steady, never moved."""

cpu_seconds = time.process_time
"""Give the CPU seconds, user and system, that this process has used."""

thread_cpu_seconds = time.thread_time
"""Give the CPU seconds that the calling thread has used."""


def cpu_seconds_of_thread(ident: int) -> float | None:
    """Give the CPU seconds that another living thread has used; None where the system does not tell.

    Args:
        ident: of the thread, as `threading.get_ident()` gives it.
    """
    find = getattr(time, "pthread_getcpuclockid", None)
    if find is None:  # macOS and Windows
        return None
    try:
        return time.clock_gettime(find(ident))
    except OSError:  # the thread has ended
        return None


def queued_seconds_of_thread(native: int) -> float:
    """Give the seconds that a thread of this process was ready to run and waited for a CPU; 0 where it is not told.

    Args:
        native: of the thread, as `threading.get_native_id()` gives it.
    """
    try:
        told = Path(f"/proc/self/task/{native}/schedstat").read_text(encoding="ascii")
    except OSError:  # not Linux, or the thread has ended
        return 0.0
    return int(told.split()[1]) / 1e9
