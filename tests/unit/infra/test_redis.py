"""The embedded Redis, for real."""

from __future__ import annotations

import os
import shutil
import signal
import stat

import psutil
import pytest
import redis.asyncio
from redis.exceptions import ConnectionError as RedisConnectionError

from cos.errors import ServerFailed
from cos.infra.folder import DataFolder
from cos.infra.redis import AOF_NAME, EmbeddedRedis


async def ask(server, *command):
    async with redis.asyncio.from_url(server.url, decode_responses=True, socket_timeout=20) as client:
        return await client.execute_command(*command)


async def fill(server, value):
    """Write a hundred keys."""
    async with (
        redis.asyncio.from_url(server.url, socket_timeout=20) as client,
        client.pipeline(transaction=False) as pipeline,
    ):
        for number in range(100):
            pipeline.set(f"key:{number}", value())
        await pipeline.execute()


class TestStart:
    async def test_listens_on_a_private_socket_only(self, redis, folder):
        listens = [one for one in psutil.Process(redis.pid).net_connections("inet") if one.status == "LISTEN"]

        assert redis.url == f"unix://{folder.sockets}/redis.sock"
        assert await ask(redis, "PING") is True
        assert listens == []
        assert stat.S_IMODE((folder.sockets / "redis.sock").stat().st_mode) == 0o700
        assert redis.version.startswith("6.2.")
        assert redis.last_recovery is None

    @pytest.mark.parametrize(("fsync", "policy"), [(True, "everysec"), (False, "no")])
    async def test_keeps_an_append_only_file_and_never_drops_a_key(self, folder, fsync, policy):
        server = EmbeddedRedis(folder=folder, fsync=fsync)
        await server.start()
        try:
            wanted = {
                "appendonly": "yes",
                "appendfsync": policy,
                "save": "",
                "maxmemory-policy": "noeviction",
            }
            found = {name: (await ask(server, "CONFIG", "GET", name))[name] for name in wanted}
        finally:
            await server.stop()

        assert found == wanted

    async def test_second_start_finds_what_the_first_wrote(self, redis):
        await ask(redis, "SET", "kept", "42")
        await redis.stop()
        assert redis.last_exit == "exit code 0"

        await redis.start()

        assert await ask(redis, "GET", "kept") == "42"

    @pytest.mark.parametrize(
        "name", ["long" * 20 + "/" + "path" * 40, "with space 'quote\" 100% ü?#&@:=+ \\x41"]
    )
    async def test_any_path_works(self, tmp_path, name):
        folder = DataFolder.open(tmp_path / name)
        server = EmbeddedRedis(folder=folder, fsync=False)
        try:
            await server.start()
            await ask(server, "SET", "kept", "42")
            assert (folder.redis / AOF_NAME).stat().st_size > 0
        finally:
            await server.stop()
            shutil.rmtree(folder.sockets)

    async def test_reason_of_a_failure_is_quoted(self, folder):
        (folder.redis / AOF_NAME).mkdir()
        server = EmbeddedRedis(folder=folder)

        with pytest.raises(ServerFailed, match=r"Redis did not start: .*redis\.log"):
            await server.start()
        assert server.state == "failed"


class TestDeath:
    @pytest.mark.parametrize("guard", ["exec", "pipe"])
    async def test_killed_server_is_replaced_with_its_data(self, folder, eventually, guard):
        server = EmbeddedRedis(folder=folder, guard=guard)
        await server.start()
        await ask(server, "SET", "kept", "42")
        pid = server.pid

        os.kill(pid, signal.SIGKILL)
        await eventually(lambda: server.state == "restarting")
        await eventually(lambda: server.state == "running")

        assert server.pid != pid
        assert (server.restarts, server.last_exit) == (1, "killed by SIGKILL")
        assert await ask(server, "GET", "kept") == "42"
        await server.stop()

    async def test_server_whose_guard_was_killed_is_replaced(self, folder, eventually, gone):
        """A watching guard that dies leaves the server behind, which must not run beside the next one."""
        server = EmbeddedRedis(folder=folder, guard="pipe")
        await server.start()
        pid = server.pid

        os.kill(psutil.Process(pid).ppid(), signal.SIGKILL)
        await eventually(lambda: server.restarts == 1 and server.state == "running")

        assert gone(pid)
        assert await ask(server, "PING") is True
        await server.stop()

    async def test_shutdown_by_a_client_is_unasked_too(self, redis, eventually):
        with pytest.raises(RedisConnectionError):
            await ask(redis, "SHUTDOWN")

        await eventually(lambda: redis.restarts == 1 and redis.state == "running")
        assert redis.last_exit == "exit code 0"

    @pytest.mark.parametrize("paused", [False, True])
    async def test_orphan_is_ended_before_the_next_start(self, redis, folder, gone, paused):
        orphan = redis.pid
        redis._process._supervisor.cancel()
        if paused:
            os.kill(orphan, signal.SIGSTOP)
        server = EmbeddedRedis(folder=folder, fsync=False)

        await server.start()

        assert gone(orphan)
        assert await ask(server, "PING") is True
        await server.stop()

    async def test_stale_files_that_name_a_bystander_are_seen_through(self, folder, bystander, gone):
        (folder.redis / "redis.pid").write_text(str(bystander.pid))
        (folder.sockets / "redis.sock").touch()
        server = EmbeddedRedis(folder=folder, fsync=False)

        await server.start()
        assert await ask(server, "PING") is True
        await server.stop()

        assert not gone(bystander.pid)


class TestDamagedFile:
    @pytest.fixture
    async def written(self, redis, folder):
        """The file of a stopped Redis that holds a hundred keys."""
        await fill(redis, lambda: "x" * 100)
        await redis.stop()
        return folder.redis / AOF_NAME

    async def test_file_cut_short_is_read_up_to_the_cut(self, redis, written):
        os.truncate(written, written.stat().st_size - 50)

        await redis.start()

        assert await ask(redis, "DBSIZE") == 99
        assert redis.last_recovery is None

    @pytest.mark.parametrize("damage", ["middle", "start", "unknown command"])
    async def test_damaged_file_is_set_aside_and_redis_starts_empty(self, redis, written, folder, damage):
        content = written.read_bytes()
        middle = len(content) // 2
        damaged = {
            "middle": content[:middle] + b"\0" * 500 + content[middle + 500 :],
            "start": b"garbage" + content,
            "unknown command": content.replace(b"SET\r\n$6\r\nkey:50", b"XET\r\n$6\r\nkey:50"),
        }[damage]
        assert damaged != content
        written.write_bytes(damaged)

        await redis.start()

        aside = list(folder.redis.glob("*.damaged-*"))
        assert await ask(redis, "DBSIZE") == 0
        assert len(aside) == 1
        assert aside[0].read_bytes()[: len(damaged)] == damaged
        assert str(aside[0]) in redis.last_recovery
        assert "filled again from Postgres" in redis.last_recovery

    async def test_damaged_snapshot_part_is_set_aside_too(self, redis, folder, eventually):
        """After a rewrite the file begins with a binary snapshot, whose damage Redis puts in other words."""
        await fill(redis, lambda: os.urandom(100).hex())
        await ask(redis, "BGREWRITEAOF")
        written = folder.redis / AOF_NAME
        await eventually(lambda: written.read_bytes()[:5] == b"REDIS")
        await redis.stop()
        content = bytearray(written.read_bytes())
        content[2000:2600] = b"\xff" * 600
        written.write_bytes(content)

        await redis.start()

        assert await ask(redis, "DBSIZE") == 0
        assert redis.last_recovery

    async def test_damage_found_by_a_restart_is_overcome_as_well(self, redis, folder, eventually):
        await ask(redis, "SET", "kept", "42")
        with (folder.redis / AOF_NAME).open("ab") as file:
            file.write(b"garbage\r\n" * 10)

        os.kill(redis.pid, signal.SIGKILL)
        await eventually(lambda: redis.restarts == 1 and redis.state == "running")

        assert await ask(redis, "DBSIZE") == 0
        assert redis.last_recovery

    async def test_only_the_last_three_damaged_files_are_kept(self, folder):
        for round_ in range(5):
            (folder.redis / AOF_NAME).write_bytes(b"garbage %d" % round_)
            server = EmbeddedRedis(folder=folder, fsync=False)
            await server.start()
            await server.stop()

        kept = sorted(folder.redis.glob("*.damaged-*"))
        assert [path.read_bytes() for path in kept] == [b"garbage 2", b"garbage 3", b"garbage 4"]

    async def test_other_failures_do_not_cost_the_file(self, redis, written):
        """A server that cannot bind its socket says nothing about its file."""
        content = written.read_bytes()
        (written.parent.parent / "sockets" / "redis.sock").mkdir()
        try:
            with pytest.raises(ServerFailed):
                await redis.start()
        finally:
            (written.parent.parent / "sockets" / "redis.sock").rmdir()

        assert written.read_bytes() == content
        assert redis.last_recovery is None
