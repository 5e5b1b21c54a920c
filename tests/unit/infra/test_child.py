"""A child process: how it ends, in words and for certain."""

from __future__ import annotations

import signal
import sys

import pytest

from cos.infra.child import Child, in_words
from cos.infra.launch import CHILD_ENVIRONMENT

# Ignores every polite request, and has a child in a session of its own, as Postgres does.
FAMILY = """
import os, signal, time
for number in (signal.SIGTERM, signal.SIGINT): signal.signal(number, signal.SIG_IGN)
child = os.fork()
if not child: os.setsid()
else: print(child, flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize(
    ("code", "words"),
    [(0, "exit code 0"), (3, "exit code 3"), (-9, "killed by SIGKILL"), (-200, "killed by signal 200")],
)
def test_exit_in_words(code, words):
    assert in_words(code) == words


@pytest.mark.parametrize("guard", ["exec", "pipe"])
async def test_end_takes_the_whole_family(tmp_path, guard, eventually, gone):
    """A server that ignores every request ends by SIGKILL, and so does its child in another session."""
    with (tmp_path / "log").open("wb") as log:
        child = await Child.spawn(
            [sys.executable, "-c", FAMILY],
            env=CHILD_ENVIRONMENT,
            log=log,
            stop_signal=signal.SIGTERM,
            grace_seconds=1,
            guard=guard,
            options=(),
        )
    await eventually(lambda: (tmp_path / "log").read_text().endswith("\n"))
    grandchild = int((tmp_path / "log").read_text())

    assert await child.end([(signal.SIGTERM, 0.05), (signal.SIGINT, 0.05)])

    assert child.exit_code == -signal.SIGKILL
    await eventually(lambda: gone(child.pid) and gone(grandchild))
