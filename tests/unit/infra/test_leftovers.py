"""Servers that an earlier owner left: found by what they are, ended gently first."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess

import psutil
import pytest

from cos.infra.leftovers import end_leftovers, find_leftovers

# A shell under a name that nothing else on the machine has: a fault in the search must not cost foreign processes.
SHELL = "cos-test-shell"
STEPS = ((signal.SIGTERM, 0.3), (signal.SIGKILL, 9.0))
STUBBORN = 'trap "" TERM; touch ready; while :; do sleep 0.05; done'
OBEDIENT = 'trap "touch ended; exit" TERM; touch ready; while :; do sleep 0.05; done'


@pytest.fixture
async def leave(eventually, tmp_path):
    """Start a shell in a folder whose parent is gone, as after a kill -9; killed at the end."""
    left = []
    shell = shutil.copy("/bin/bash", tmp_path / SHELL)

    async def start(folder, script):
        folder.mkdir(exist_ok=True)
        (folder / "ready").unlink(missing_ok=True)
        starter = await asyncio.to_thread(
            subprocess.run,
            ["/bin/sh", "-c", f"{shell} -c '{script}' > log & echo $!"],
            cwd=folder,
            stdout=subprocess.PIPE,
            check=True,
        )
        left.append(psutil.Process(int(starter.stdout)))
        await eventually((folder / "ready").exists)
        return left[-1].pid

    yield start
    for process in left:
        if process.is_running():
            process.kill()


async def test_same_name_elsewhere_and_other_names_here_are_left_alone(tmp_path, leave, gone):
    ours = await leave(tmp_path / "a", STUBBORN)
    elsewhere = await leave(tmp_path / "b", STUBBORN)
    other = await leave(tmp_path / "a", "touch ready; exec sleep 600")

    assert [process.pid for process in find_leftovers(tmp_path / "a", program=SHELL)] == [ours]
    assert end_leftovers(tmp_path / "a", program=SHELL, steps=STEPS) == [ours]

    assert [gone(pid) for pid in (ours, elsewhere, other)] == [True, False, False]


@pytest.mark.parametrize("paused", [False, True])
async def test_gentle_signal_is_enough_for_most(tmp_path, leave, gone, paused):
    ours = await leave(tmp_path / "a", OBEDIENT)
    if paused:
        os.kill(ours, signal.SIGSTOP)

    end_leftovers(tmp_path / "a", program=SHELL, steps=((signal.SIGTERM, 15.0), (signal.SIGKILL, 9.0)))

    assert gone(ours)
    assert (tmp_path / "a" / "ended").exists()


async def test_stubborn_one_is_killed(tmp_path, leave, gone):
    ours = await leave(tmp_path / "a", STUBBORN)

    end_leftovers(tmp_path / "a", program=SHELL, steps=STEPS)

    assert gone(ours)


def test_nothing_left_is_nothing_done(tmp_path):
    assert end_leftovers(tmp_path, program=SHELL, steps=STEPS) == []
