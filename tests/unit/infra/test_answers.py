"""Whether a server answers: asked of real ones, silent ones and none."""

from __future__ import annotations

import asyncio

import pytest

from cos.infra.answers import postgres_answers, redis_answers


async def test_running_servers_answer(postgres, redis, cluster_folder, folder):
    assert await redis_answers(folder.sockets / "redis.sock")
    assert await postgres_answers(cluster_folder.sockets / ".s.PGSQL.5432", user="cos", database="cos")


async def test_refused_session_is_no_answer(postgres, cluster_folder):
    socket = cluster_folder.sockets / ".s.PGSQL.5432"

    assert not await postgres_answers(socket, user="cos", database="missing")
    assert not await postgres_answers(socket, user="nobody", database="cos")


async def test_no_socket_is_no_answer(folder):
    assert not await redis_answers(folder.sockets / "missing")
    assert not await postgres_answers(folder.sockets / "missing", user="cos", database="cos")


@pytest.mark.parametrize(
    "reply", [b"", b"-LOADING Redis is loading the dataset in memory\r\n", b"E\0\0\0\4", b"\0"]
)
async def test_other_reply_is_no_answer(tmp_path, reply):
    async def serve(reader, writer):
        await reader.read(64)
        writer.write(reply)
        writer.close()

    async with await asyncio.start_unix_server(serve, str(tmp_path / "s")):
        assert not await redis_answers(tmp_path / "s")
        assert not await postgres_answers(tmp_path / "s", user="cos", database="cos")


async def test_silence_is_no_answer(tmp_path, monkeypatch):
    monkeypatch.setattr("cos.infra.answers._TIMEOUT_SECONDS", 0.05)
    silent = asyncio.Event()

    async def serve(_reader, writer):
        await silent.wait()
        writer.close()

    async with await asyncio.start_unix_server(serve, str(tmp_path / "s")):
        assert not await redis_answers(tmp_path / "s")
        assert not await postgres_answers(tmp_path / "s", user="cos", database="cos")
        silent.set()
