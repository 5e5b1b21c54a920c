"""Watches over one agent: limits of time, idleness, output and cost; its group dies with it, and it with us.

It is started as `python -I warden.py SPEC.json` with a pipe as its standard input. When the pipe ends (we died), the
agent and all that it started are killed. How the agent ended is written to a file, so that it is known even if we
died in the meantime.
"""

from __future__ import annotations

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
from typing import Any

_COST = re.compile(
    rb'"(?:total_)?cost_usd"\s*:\s*([0-9.]+)|COS_GREEN_COST[=:]\s*\$?([0-9.]+)|[Cc]ost: \$[0-9.]+ message, \$([0-9.]+) session'
)
_LOOK_S = 1.0
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
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass


def die_with_parent() -> None:
    """Ask the kernel to end this process with its parent, where it can."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def watch(spec: dict[str, Any], process: subprocess.Popen[bytes]) -> dict[str, Any]:
    """Pump the agent's output into its file until it ends or breaks a limit."""
    begun = last = time.monotonic()
    seen = newest(spec["worktree"])
    written, cost, tail, reason = 0, None, b"", ""
    looked = begun
    piped = True
    chooser = selectors.DefaultSelector()
    output = process.stdout
    if output is None:
        raise RuntimeError("the agent's output was not piped")
    chooser.register(output, selectors.EVENT_READ, "output")
    chooser.register(sys.stdin.buffer, selectors.EVENT_READ, "owner")
    with open(spec["log"], "ab") as log:  # noqa: PTH123 - this file stands alone
        while not reason:
            for key, _ in chooser.select(0.2):
                data = os.read(key.fd, 65536)
                if key.data == "owner":
                    if not data:
                        kill_group(process)
                        os._exit(3)
                    reason = data.decode().strip() or "stopped"
                elif not data:
                    chooser.unregister(output)
                    piped = False
                else:
                    last = time.monotonic()
                    log.write(data[: max(0, spec["output_bytes"] - written)])
                    log.flush()
                    written += len(data)
                    tail = (tail + data)[-_KEPT:]
                    for found in _COST.finditer(tail):
                        cost = float(next(group for group in found.groups() if group))
            now = time.monotonic()
            if now - looked > _LOOK_S:
                looked = now
                latest = newest(spec["worktree"])
                if latest > seen:
                    seen, last = latest, now
            if written > spec["output_bytes"]:
                reason = "wrote more output than its limit"
            elif now - begun > spec["wall_s"]:
                reason = "took longer than its limit"
            elif now - last > spec["idle_s"]:
                reason = "made no progress"
            elif spec["cost_usd"] is not None and cost is not None and cost > spec["cost_usd"]:
                reason = "cost more than its limit"
            elif process.poll() is not None and process.stdout not in {
                k.fileobj for k in chooser.get_map().values()
            }:
                break
            elif process.poll() is not None and now - last > 1.0:
                break  # it ended, but a child of it still holds its output
    kill_group(process)
    code = process.wait()
    return {
        "code": code,
        "reason": reason,
        "seconds": round(time.monotonic() - begun, 3),
        "bytes": written,
        "cost_usd": cost,
    }


def main() -> None:
    """Run one agent as the specification says."""
    spec = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    die = die_with_parent
    source = open(spec["stdin"], "rb") if spec["stdin"] else subprocess.DEVNULL  # noqa: SIM115, PTH123
    try:
        process = subprocess.Popen(  # noqa: S603 - an argument list that the user gave
            spec["command"],
            cwd=spec["worktree"],
            stdin=source,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=die,
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
        result = watch(spec, process)
    part = Path(spec["result"] + ".part")
    part.write_text(json.dumps(result), encoding="utf-8")
    part.rename(spec["result"])


if __name__ == "__main__":
    main()
