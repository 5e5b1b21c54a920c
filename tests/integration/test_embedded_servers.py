"""Both servers under an owner that is killed at any moment: they go with it, and the next start recovers."""

from __future__ import annotations

import asyncio
import contextlib
import random
import shutil
import subprocess
import sys
import time

import asyncpg
import psutil
import pytest
import redis.asyncio

from cos.errors import AlreadyRunning
from cos.infra.folder import DataFolder
from cos.infra.postgres import EmbeddedPostgres
from cos.infra.redis import EmbeddedRedis

GONE_WITHIN_SECONDS = 15.0
ROUNDS = 10

# Owns both servers as `cos up` does, and notes in Postgres that it has been there.
OWNER = """
import asyncio, pathlib, sys
import asyncpg
from cos.infra.folder import DataFolder
from cos.infra.postgres import EmbeddedPostgres
from cos.infra.redis import EmbeddedRedis

async def main(path, guard, mark):
    folder = DataFolder.open(pathlib.Path(path))
    with folder.lock({"since": "now"}):
        postgres = EmbeddedPostgres(folder=folder, fsync=False, guard=guard)
        await asyncio.gather(postgres.start(), EmbeddedRedis(folder=folder, fsync=False, guard=guard).start())
        connection = await asyncpg.connect(postgres.url)
        await connection.execute("create table if not exists mark(n int)")
        await connection.execute("insert into mark values ($1)", int(mark))
        print("marked", flush=True)
        await asyncio.sleep(600)

asyncio.run(main(*sys.argv[1:]))
"""


def working_in(path):
    """List the processes whose working folder is below a path, the servers of a data folder."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.cwd().startswith(f"{path}/") and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


async def all_gone(path):
    deadline = time.monotonic() + GONE_WITHIN_SECONDS
    while left := working_in(path):
        assert time.monotonic() < deadline, f"these outlived their owner: {left}"
        await asyncio.sleep(0.01)


@pytest.fixture
def start_owner(data):
    """Start a process that owns both servers of the data folder; killed at the end."""
    owners = []

    def start(guard, mark):
        command = [sys.executable, "-c", OWNER, str(data), guard, str(mark)]
        owners.append(subprocess.Popen(command, stdout=subprocess.PIPE))
        return owners[-1]

    yield start
    for owner in owners:
        owner.kill()
        owner.wait()
        owner.stdout.close()


@pytest.fixture
def data(tmp_path):
    """Where the data folder is."""
    yield tmp_path / "d"
    shutil.rmtree(DataFolder.open(tmp_path / "d").sockets)


async def marks_after_recovery(data):
    """Start both servers in this process, read what is there, and stop them cleanly."""
    folder = DataFolder.open(data)
    with folder.lock({}):
        postgres = EmbeddedPostgres(folder=folder, fsync=False)
        cache = EmbeddedRedis(folder=folder, fsync=False)
        await asyncio.gather(postgres.start(), cache.start())
        try:
            connection = await asyncpg.connect(postgres.url)
            known = await connection.fetchval("select to_regclass('mark')")
            marks = [row["n"] for row in await connection.fetch("select n from mark")] if known else []
            await connection.close()
            async with redis.asyncio.from_url(cache.url) as client:
                assert await client.ping()
        finally:
            await asyncio.gather(postgres.stop(), cache.stop())
    assert (postgres.last_exit, cache.last_exit) == ("exit code 0", "exit code 0")
    return set(marks)


@pytest.mark.parametrize("guard", ["exec", "pipe"])
async def test_kill_of_the_owner_ends_both_servers_and_the_next_start_recovers(data, start_owner, guard):
    owner = start_owner(guard, 1)
    assert await asyncio.to_thread(owner.stdout.readline) == b"marked\n"
    assert {process.name() for process in working_in(data)} == {"postgres", "redis-server"}
    with pytest.raises(AlreadyRunning, match=rf"process {owner.pid}, since now\) has the data folder"):
        DataFolder.open(data).lock({})

    owner.kill()

    await all_gone(data)
    assert await marks_after_recovery(data) == {1}


async def test_kills_at_random_moments_never_break_the_folder(data, start_owner):
    """Kills the owner while it sets up, starts, recovers or runs; every acknowledged mark is kept."""
    dice = random.Random(20_26)  # noqa: S311  (a repeatable choice of moments, not a secret)
    acknowledged = set()
    for mark in range(ROUNDS):
        owner = start_owner(dice.choice(["exec", "pipe"]), mark)
        # The first rounds die in the middle of setting up, later ones also after a start.
        moment = dice.uniform(0.3, 0.9 if mark < ROUNDS // 2 else 1.6)
        await asyncio.sleep(moment)  # house: sleep (a kill at a random moment is what is tested)
        owner.kill()
        if b"marked" in await asyncio.to_thread(owner.stdout.read):
            acknowledged.add(mark)
        await all_gone(data)

    stored = await marks_after_recovery(data)

    assert acknowledged <= stored
    assert not list(data.glob("postgres.new-*")), "unfinished set-ups are cleared away"
