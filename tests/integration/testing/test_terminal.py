"""A terminal that is closed while faults are armed: all of them are healed, and nothing of the run lives on."""

from __future__ import annotations

import os
import pty
import shlex
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from cos.testing.eventually import eventually

ARMED = """
from pathlib import Path
import os, time

def test_armed(faults, cos_redis, cos_postgres):
    faults.redis.freeze(seconds=600)
    faults.postgres.freeze(seconds=600)
    Path("pids").write_text(f"{os.getpid()} {cos_redis.pid} {cos_postgres.pid}")
    while True:
        time.sleep(1)
"""

#: Takes the terminal as a login does, so that its end is told to whoever works in it.
LOGIN = "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execvp(sys.argv[1], sys.argv[1:])"


@pytest.mark.parametrize("shell", [False, True])
def test_closing_it_heals_all(project, shell) -> None:
    """With pytest itself in charge of the terminal, and with a shell that began it; frozen servers end too."""
    project.write(ARMED)
    project.configure()
    command = project.command()
    if shell:
        command = ["/bin/sh", "-c", f"{shlex.join(command)}; true"]
    told = project.path / "pids"
    ours, theirs = pty.openpty()
    try:
        run = subprocess.Popen(
            [sys.executable, "-c", LOGIN, *command],
            cwd=project.path,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
        os.close(theirs)
        eventually(lambda: told.exists() and len(told.read_text().split()) == 3, seconds=60)
        processes = [psutil.Process(int(pid)) for pid in told.read_text().split()]
        processes += processes[2].children()
        assert {one.status() for one in processes[1:]} == {psutil.STATUS_STOPPED}
    finally:
        os.close(ours)
    run.wait(timeout=20)
    gone, alive = psutil.wait_procs(processes, timeout=20)
    assert alive == []
    assert len(gone) > 5
    journals = Path(os.environ["XDG_STATE_HOME"], "cos", "testing", "journals")
    eventually(lambda: not list(journals.iterdir()))
