"""Measures how long things take: apart from the clock, as a test that moves that must not move a measurement."""

from __future__ import annotations

import time

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
