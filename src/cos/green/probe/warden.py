"""Watches over one agent: limits of time, idleness, output and cost; its group dies with it, and it with us.

It is started as `python -I warden.py SPEC.json` with a pipe as its standard input. When the pipe ends (we died), the
agent and all that it started are killed. How the agent ended is written to a file, so that it is known even if we
died in the meantime.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import re
import selectors
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import IO, Any

_COST = re.compile(
    rb'"(?:total_)?cost_usd"\s*:\s*([0-9.]+)|COS_GREEN_COST[=:]\s*\$?([0-9.]+)'
    rb"|[Cc]ost: \$[0-9.]+ message, \$([0-9.]+) session"
)
_LOOK_S = 1.0
_SELECT_S = 0.1
_KEPT = 8192


def newest(folder: str) -> float:
    """Give the time of the newest change below a folder; git's own files do not count."""
    latest = 0.0
    for parent, folders, files in os.walk(folder):
        folders[:] = [
            name for name in folders if name not in (".git", "__pycache__", "node_modules", ".venv")
        ]
        for name in [*files, "."]:
            try:
                latest = max(latest, os.lstat(os.path.join(parent, name)).st_mtime)  # noqa: PTH118 - many files
            except OSError:
                continue
    return latest


def kill_group(process: subprocess.Popen[bytes]) -> None:
    """End the agent and all of its group."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


def die_with_parent() -> None:
    """Ask the kernel to end this process with its parent, where it can."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)


class Watch:
    """Pumps one agent's output into its file and looks after its limits."""

    def __init__(self, spec: dict[str, Any], process: subprocess.Popen[bytes]) -> None:
        self.spec = spec
        self.process = process
        self.begun = self.last = self.look_at = time.monotonic()
        self.newest = 0.0
        self.written = 0
        self.cost: float | None = None
        self.tail = b""
        self.piped = True

    def run(self) -> dict[str, Any]:
        """Watch until the agent ends or breaks a limit, end its group, and say how it ended."""
        output = self.process.stdout
        chooser = selectors.DefaultSelector()
        if output is not None:
            chooser.register(output, selectors.EVENT_READ, "output")
        chooser.register(sys.stdin.buffer, selectors.EVENT_READ, "owner")
        reason = ""
        with open(self.spec["log"], "ab") as log:  # noqa: PTH123 - this file stands alone
            while not reason and not self.over():
                for key, _ in chooser.select(_SELECT_S):
                    data = os.read(key.fd, 65536)
                    if key.data == "owner" and not data:
                        kill_group(self.process)
                        os._exit(3)
                    elif key.data == "output" and not data:
                        chooser.unregister(key.fileobj)
                        self.piped = False
                    elif key.data == "output":
                        self.take(data, log)
                self.look()
                reason = self.broken()
        kill_group(self.process)
        code = self.process.wait()
        seconds = round(time.monotonic() - self.begun, 3)
        return {
            "code": code,
            "reason": reason,
            "seconds": seconds,
            "bytes": self.written,
            "cost_usd": self.cost,
        }

    def over(self) -> bool:
        """Say whether the agent ended; a child of it that still holds its output is given a second."""
        if self.process.poll() is None:
            return False
        return not self.piped or time.monotonic() - self.last > 1.0

    def take(self, data: bytes, log: IO[bytes]) -> None:
        """Keep output up to its limit, and read a cost from it."""
        self.last = time.monotonic()
        log.write(data[: max(0, self.spec["output_bytes"] - self.written)])
        log.flush()
        self.written += len(data)
        self.tail = (self.tail + data)[-_KEPT:]
        for found in _COST.finditer(self.tail):
            self.cost = float(next(group for group in found.groups() if group))

    def look(self) -> None:
        """See now and then whether files changed; in a large tree more seldom, so that looking costs little."""
        now = time.monotonic()
        if now < self.look_at:
            return
        latest = newest(self.spec["worktree"])
        if latest > self.newest:
            self.newest, self.last = latest, max(self.last, now)
        self.look_at = now + max(_LOOK_S, 20 * (time.monotonic() - now))

    def broken(self) -> str:
        """Name the limit that is broken, if one is."""
        now, spec = time.monotonic(), self.spec
        if self.written > spec["output_bytes"]:
            return "wrote more output than its limit"
        if now - self.begun > spec["wall_s"]:
            return "took longer than its limit"
        if now - self.last > spec["idle_s"]:
            return "made no progress"
        if spec["cost_usd"] is not None and self.cost is not None and self.cost > spec["cost_usd"]:
            return "cost more than its limit"
        return ""


def main() -> None:
    """Run one agent as the specification says."""
    spec = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    source = open(spec["stdin"], "rb") if spec["stdin"] else subprocess.DEVNULL  # noqa: SIM115, PTH123
    try:
        process = subprocess.Popen(  # noqa: S603 - an argument list that the user gave; no threads here
            spec["command"],
            cwd=spec["worktree"],
            stdin=source,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=die_with_parent,  # noqa: PLW1509 - there are no threads here
        )
    except OSError as error:
        result = {
            "code": None,
            "reason": f"could not be started ({error.strerror})",
            "seconds": 0.0,
            "bytes": 0,
            "cost_usd": None,
        }
    else:
        result = Watch(spec, process).run()
    part = Path(spec["result"] + ".part")
    part.write_text(json.dumps(result), encoding="utf-8")
    part.rename(spec["result"])


if __name__ == "__main__":
    main()
