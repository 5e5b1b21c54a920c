"""Runs one program and tells what it used; a small process of its own, so that the memory of its parent is not counted.

Linux counts to a program's most memory what the process had that started it. It is run as
`python -I -S command_runner.py PROGRAM ARGUMENT…` and prints a JSON object.
"""

from __future__ import annotations

import json
import os
import sys
import time


def main() -> None:
    """Run what the arguments say and print its code, seconds, CPU seconds and most resident memory."""
    sink = os.open(os.devnull, os.O_WRONLY)
    began = time.perf_counter()  # house: clock (this file runs alone)
    try:
        environment = os.environ  # house: environment (handed on whole)
        actions = [(os.POSIX_SPAWN_DUP2, sink, 1)]
        pid = os.posix_spawnp(sys.argv[1], sys.argv[1:], environment, file_actions=actions)
    except OSError as error:
        sys.stdout.write(json.dumps({"error": error.strerror}))
        return
    _, status, usage = os.wait4(pid, 0)
    took = time.perf_counter() - began  # house: clock (this file runs alone)
    unit = 1 if sys.platform == "darwin" else 1024
    told = {
        "code": os.waitstatus_to_exitcode(status),
        "seconds": took,
        "cpu_s": usage.ru_utime + usage.ru_stime,
        "memory_peak_bytes": usage.ru_maxrss * unit,
    }
    sys.stdout.write(json.dumps(told))


if __name__ == "__main__":
    main()
