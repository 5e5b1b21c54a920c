"""A server that lives but does not answer: continued when it is paused, ended when it hangs."""

from __future__ import annotations

import os
import shutil
import signal

import psutil
import pytest

from cos.common.health import Part, State
from cos.common.monitor import Monitor
from cos.common.redis import LOST, create_redis
from cos.infra.folder import DataFolder
from cos.infra.redis import EmbeddedRedis
from cos.runtime import mender
from cos.runtime.mender import Mender


class Pinged:
    """Tells whether a Redis answers; a source of the monitor."""

    name = "redis"

    def __init__(self, url: str) -> None:
        self.client = create_redis(url)
        self.client.connection_pool.connection_kwargs["socket_timeout"] = 0.1

    async def measure(self) -> list[Part]:
        try:
            await self.client.ping()
        except LOST:
            return [Part(name="redis", title="Redis", state=State.DOWN)]
        return [Part(name="redis", title="Redis", state=State.OK)]


@pytest.fixture
async def redis(tmp_path):
    folder = DataFolder.open(tmp_path)
    server = EmbeddedRedis(folder=folder, fsync=False)
    await server.start()
    yield server
    await server.stop()
    shutil.rmtree(folder.sockets)


@pytest.fixture
async def watched(redis):
    source = Pinged(redis.url)
    yield Monitor(sources=[source])
    await source.client.aclose()


async def test_a_paused_server_is_continued(redis, watched) -> None:
    made = Mender(monitor=watched, servers={"redis": redis})
    os.kill(redis.pid, signal.SIGSTOP)
    assert (await watched.measure()).part("redis").state is State.DOWN
    await made.turn()
    assert psutil.Process(redis.pid).status() != psutil.STATUS_STOPPED
    assert (await watched.measure()).part("redis").state is State.OK


async def test_before_a_stop_all_is_continued_at_once(redis, watched) -> None:
    """Whatever the monitor knows of it."""
    os.kill(redis.pid, signal.SIGSTOP)
    Mender(monitor=watched, servers={"redis": redis}).continue_paused()
    assert psutil.Process(redis.pid).status() != psutil.STATUS_STOPPED


async def test_a_hanging_server_is_ended_once_its_time_is_up(redis, watched, monkeypatch, eventually) -> None:
    """Made to hang by a command that keeps it busy; its supervisor starts it again."""
    hanging = create_redis(redis.url)
    await hanging.script_flush()
    first = redis.pid
    connection = await hanging.connection_pool.get_connection()
    await connection.send_command("EVAL", "while true do end", 0)
    assert (await watched.measure()).part("redis").state is State.DOWN
    made = Mender(monitor=watched, servers={"redis": redis})
    await made.turn()
    assert redis.pid == first
    monkeypatch.setattr(mender, "HANGING_SECONDS", 0.0)
    await made.turn()

    async def is_back() -> bool:
        return redis.pid not in (None, first) and redis.state == "running"

    await eventually(is_back)
    await connection.disconnect(nowait=True)
    await hanging.aclose()


async def test_it_is_not_ended_again_and_again(redis, watched, monkeypatch) -> None:
    monkeypatch.setattr(mender, "HANGING_SECONDS", 0.0)
    ended: list[int] = []
    monkeypatch.setattr(mender.os, "kill", lambda pid, _number: ended.append(pid))
    made = Mender(monitor=watched, servers={"redis": redis})
    for _ in range(3):
        made._mend("redis", redis.pid, 60.0)
    assert ended == [redis.pid]
