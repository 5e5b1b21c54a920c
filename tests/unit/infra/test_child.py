"""A child process: how it ends, in words, for certain, and with its owner."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import threading

import pytest

from cos.infra.child import DEFAULT_GUARD, Child, in_words
from cos.infra.launch import CHILD_ENVIRONMENT
from cos.infra.process import ServerProcess

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


OWNER = """
import asyncio, pathlib, signal, sys
from cos.infra.process import ServerProcess
async def ready():
    return True
async def main(log, guard):
    process = ServerProcess(
        name="Sleeper", argv=lambda: ["/bin/sleep", "600"], log=pathlib.Path(log), ready=ready,
        stop_signal=signal.SIGTERM, start_timeout_seconds=20, stop_timeout_seconds=20, guard=guard,
    )
    await process.start()
    print(process.pid, flush=True)
    await asyncio.sleep(600)
if sys.argv[1] == "uvloop":
    import uvloop
    uvloop.run(main(*sys.argv[2:]))
else:
    asyncio.run(main(*sys.argv[2:]))
"""


class TestOwner:
    @pytest.fixture(params=["uvloop exec", "uvloop pipe", "asyncio exec", "asyncio pipe"])
    def owner(self, request, tmp_path):
        """Another process that owns a server and prints its id."""
        loop, guard = request.param.split()
        command = [sys.executable, "-c", OWNER, loop, str(tmp_path / "log"), guard]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
            yield process
            process.kill()

    @pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
    async def test_server_ends_with_its_owner_however_that_dies(self, owner, how, eventually, gone):
        pid = int(owner.stdout.readline())
        assert not gone(pid)

        owner.send_signal(how)

        await eventually(lambda: gone(pid))

    def test_loop_in_a_thread_works_and_its_end_ends_the_server(self, tmp_path, gone):
        """The kernel ties a child to the thread that started it: a loop that is over has no servers left."""
        pids = []

        async def ready():
            return True

        async def life():
            process = ServerProcess(
                name="Sleeper",
                argv=lambda: ["/bin/sleep", "600"],
                log=tmp_path / "log",
                ready=ready,
                stop_signal=signal.SIGTERM,
                start_timeout_seconds=9,
                stop_timeout_seconds=9,
                guard=DEFAULT_GUARD,
            )
            await process.start()
            pids.append(process.pid)
            await process.stop()

        thread = threading.Thread(target=lambda: asyncio.run(life()))
        thread.start()
        thread.join(30)

        assert len(pids) == 1
        assert gone(pids[0])
