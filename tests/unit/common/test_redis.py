"""Clients of a real Redis, and the sentence for each way in which it does not do what was asked."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator

import pytest
from redis.exceptions import AuthenticationError, ConnectionError, ResponseError  # noqa: A004

from cos.common import redis as redis_client
from cos.errors import BadSetting, RedisUnreachable, ServerTooOld, WrongPassword
from cos.infra.folder import DataFolder
from cos.infra.redis import EmbeddedRedis


@pytest.fixture(scope="module")
async def locked(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[EmbeddedRedis]:
    """A Redis that asks for the password `right`."""
    folder = DataFolder.open(tmp_path_factory.mktemp("locked"))
    server = EmbeddedRedis(folder=folder, fsync=False)
    await server.start()
    async with redis_client.create_redis(server.url) as client:
        await client.config_set("requirepass", "right")
    yield server
    await server.stop()
    shutil.rmtree(folder.sockets)


class TestCheck:
    async def test_it_gives_the_version(self, servers) -> None:
        async with redis_client.create_redis(servers.redis.url) as client:
            assert await redis_client.check(client, servers.redis.url) == servers.redis.version

    @pytest.mark.parametrize("options", ["", "?password=wrong"])
    async def test_no_password_and_a_wrong_one(self, locked, options) -> None:
        url = locked.url + options
        async with redis_client.create_redis(url) as client:
            with pytest.raises(WrongPassword, match="COS_REDIS_URL") as seen:
                await redis_client.check(client, url)
        assert "wrong" not in seen.value.detail

    async def test_the_right_password(self, locked) -> None:
        async with redis_client.create_redis(locked.url + "?password=right") as client:
            assert await redis_client.check(client, locked.url)

    async def test_an_account_without_the_right(self, locked) -> None:
        """The password is right, the permission is missing: said as a refusal, too."""
        async with redis_client.create_redis(locked.url + "?password=right") as client:
            await client.acl_setuser("guest", enabled=True, passwords=["+pw"], commands=["-@all"])
        url = locked.url + "?username=guest&password=pw"
        async with redis_client.create_redis(url) as client:
            with pytest.raises(WrongPassword):
                await redis_client.check(client, url)

    async def test_nobody_is_there(self, tmp_path) -> None:
        url = f"unix://{tmp_path}/none.sock"
        async with redis_client.create_redis(url) as client:
            with pytest.raises(RedisUnreachable, match="Redis at its socket does not answer"):
                await redis_client.check(client, url)
        async with redis_client.create_redis("redis://:hush@127.0.0.1:1") as client:
            with pytest.raises(RedisUnreachable, match=r"Redis at 127\.0\.0\.1:1 does not answer") as seen:
                await redis_client.check(client, "redis://:hush@127.0.0.1:1")
        assert "hush" not in seen.value.detail

    async def test_one_that_is_too_old(self, servers, monkeypatch) -> None:
        monkeypatch.setattr(redis_client, "MIN_VERSION", (99, 1))
        async with redis_client.create_redis(servers.redis.url) as client:
            with pytest.raises(ServerTooOld, match=r"is version \d+\.\d+\.\d+; COS needs 99\.1 or newer"):
                await redis_client.check(client, servers.redis.url)


class TestUrl:
    @pytest.mark.parametrize(
        "url",
        [
            "redis://:se#cret@host:1",
            "redis://:se/cret@host:1",
            "redis://:secret@host:cret",
            "redis://:se[cret@host:1",
            "redis://host?db=cret",
        ],
    )
    def test_one_that_cannot_be_read_is_not_quoted(self, url) -> None:
        """A password with a character that means something in a URL would be quoted in part by the reader's words."""
        with pytest.raises(BadSetting, match="COS_REDIS_URL is no URL that can be read") as seen:
            redis_client.create_redis(url)
        assert "cret" not in seen.value.detail
        assert "se" not in seen.value.detail.split(":", 1)[0].replace("setting", "")

    @pytest.mark.parametrize(
        ("url", "named"),
        [
            ("redis://me:hush@host:7000/1", "host:7000"),
            ("rediss://host", "host:6379"),
            ("redis://", "localhost:6379"),
            ("unix:///run/cos/redis.sock?password=hush", "its socket"),
            ("redis://:hush@host:port", "the given URL"),
        ],
    )
    def test_a_server_is_named_without_secrets(self, url, named) -> None:
        assert redis_client.where(url) == named


@pytest.mark.parametrize(
    ("error", "kind", "said"),
    [
        (AuthenticationError("invalid username-password pair"), WrongPassword, "COS_REDIS_URL"),
        (ResponseError("NOAUTH Authentication required."), WrongPassword, "COS_REDIS_URL"),
        (
            ResponseError("OOM command not allowed\nwhen used memory"),
            RedisUnreachable,
            "refused: OOM command not allowed when",
        ),
        (ConnectionError("Error 111. Connection refused."), RedisUnreachable, "does not answer"),
        (TimeoutError(), RedisUnreachable, "TimeoutError"),
        (OSError(), RedisUnreachable, "OSError"),
    ],
)
def test_each_error_is_one_sentence(error, kind, said) -> None:
    found = redis_client.connect_error("redis://:hush@host:1", error)
    assert type(found) is kind
    assert said in found.detail
    assert "host:1" in found.detail
    assert "\n" not in found.detail


class TestSendTogether:
    async def test_the_answers_come_in_the_order_of_the_commands(self, servers) -> None:
        async with redis_client.create_redis(servers.redis.url) as client:
            assert await redis_client.send_together(client, [("ECHO", str(n)) for n in range(50)]) == [
                str(n).encode() for n in range(50)
            ]

    async def test_after_a_refusal_the_connection_is_still_in_step(self, servers) -> None:
        """All answers are read before the first refusal is raised; the same connection then serves the next."""
        async with redis_client.create_redis(servers.redis.url) as client:
            before = await client.client_id()
            with pytest.raises(ResponseError, match="unknown command"):
                await redis_client.send_together(client, [("ECHO", "a"), ("NOSUCH",), ("ECHO", "b")])
            assert await redis_client.send_together(client, [("ECHO", "c"), ("CLIENT", "ID")]) == [
                b"c",
                before,
            ]

    async def test_one_that_is_cut_off_leaves_no_answer_to_the_next(self, servers) -> None:
        async with redis_client.create_redis(servers.redis.url) as client:
            sending = asyncio.create_task(
                redis_client.send_together(client, [("BLPOP", "nothing.here", "4"), ("ECHO", "late")])
            )
            await asyncio.wait([sending], timeout=0.05)
            sending.cancel()
            await asyncio.wait([sending])
            assert sending.cancelled()
            assert await redis_client.send_together(client, [("ECHO", "mine")]) == [b"mine"]
