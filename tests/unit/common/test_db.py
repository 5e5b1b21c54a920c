"""Connections to a real Postgres, and the sentence for each way in which one cannot be made."""

from __future__ import annotations

import asyncio
import os
import signal
import ssl

import asyncpg
import pytest
from sqlalchemy import text

from cos.common import db
from cos.errors import BadSetting, DiskFull, NotFound, PostgresDiskFull, PostgresUnreachable, WrongPassword


class TestConnect:
    async def test_it_is_named_and_tells_the_time_in_utc(self, servers) -> None:
        connection = await db.connect(servers.postgres.url, name="cos here")
        assert await connection.fetchval("SHOW application_name") == "cos here"
        assert await connection.fetchval("SHOW timezone") == "UTC"
        await connection.close()

    async def test_one_that_a_hanging_server_keeps_busy_can_be_closed(self, servers) -> None:
        """Otherwise a stop would wait for that server half a minute, once for each connection."""
        connection = await db.connect(servers.postgres.url)
        backend = await connection.fetchval("SELECT pg_backend_pid()")
        os.kill(backend, signal.SIGSTOP)
        try:
            asking = asyncio.create_task(connection.fetchval("SELECT 1"))
            await asyncio.sleep(0)
            async with asyncio.timeout(db.CLOSE_TIMEOUT_SECONDS * 10):
                await connection.close()
            assert connection.is_closed()
            with pytest.raises(asyncpg.PostgresConnectionError):
                await asking
        finally:
            os.kill(backend, signal.SIGCONT)

    async def test_a_socket_that_is_not_there(self, tmp_path) -> None:
        with pytest.raises(PostgresUnreachable, match="cannot be reached"):
            await db.connect(f"postgresql://someone:hush@/cos?host={tmp_path}")

    async def test_a_socket_that_is_not_there_where_the_disk_is_full(self, tmp_path, monkeypatch) -> None:
        """A server that has no room does not come up; who asks is told so, and not to wait."""
        monkeypatch.setattr(db, "SEGMENT_BYTES", 2**62)
        with pytest.raises(
            PostgresDiskFull, match=r"the disk under its folder is full \(.* MiB are free\)"
        ) as told:
            await db.connect(f"postgresql://someone:hush@/cos?host={tmp_path}")
        assert (told.value.status, told.value.slug, told.value.exit_code) == (507, "disk-full", 14)
        with pytest.raises(PostgresUnreachable, match="cannot be reached"):
            await db.connect(f"postgresql://someone:hush@/cos?host={tmp_path / 'not-there'}")
        with pytest.raises(PostgresUnreachable, match="cannot be reached"):
            await db.connect("postgresql://someone:hush@127.0.0.1:1/cos")

    async def test_a_port_that_nobody_listens_on(self) -> None:
        with pytest.raises(
            PostgresUnreachable, match=r"at 127\.0\.0\.1:1/cos cannot be reached: .*failed"
        ) as seen:
            await db.connect("postgresql://someone:hush@127.0.0.1:1/cos")
        assert "hush" not in seen.value.detail

    async def test_a_database_that_does_not_exist(self, servers) -> None:
        with pytest.raises(PostgresUnreachable, match="that database does not exist; create it first"):
            await db.connect(servers.postgres.url.replace("/cos?", "/nowhere?"))

    async def test_an_account_that_does_not_exist(self, servers) -> None:
        with pytest.raises(WrongPassword, match="COS_DATABASE_URL"):
            await db.connect(servers.postgres.url.replace("//cos@", "//nobody@"))

    @pytest.mark.parametrize(
        "url",
        [
            "postgresql://me:se#cret@host/db",
            "postgresql://me:se/cret@host/db",
            "postgresql://me:se?cret@host/db",
            "postgresql://me:se[cret@host/db",
            "postgresql://me:secret@host:cret/db",
        ],
    )
    async def test_a_url_that_cannot_be_read_is_not_quoted(self, url) -> None:
        """A password with a character that means something in a URL would be quoted in part by the reader's words."""
        with pytest.raises(BadSetting, match="COS_DATABASE_URL is no URL that can be read") as seen:
            await db.connect(url)
        assert "se" not in seen.value.detail.split(":", 1)[0].replace("setting", "")
        assert "cret" not in seen.value.detail


class TestConnectError:
    URL = "postgresql://me:hush@db.example:5433/cos?sslmode=require"

    @pytest.mark.parametrize(
        ("error", "kind", "said"),
        [
            (
                asyncpg.InvalidPasswordError("password authentication failed"),
                WrongPassword,
                "refused the user",
            ),
            (asyncpg.InvalidAuthorizationSpecificationError("no role"), WrongPassword, "COS_DATABASE_URL"),
            (asyncpg.CannotConnectNowError("starting up"), PostgresUnreachable, "still starting or stopping"),
            (asyncpg.DiskFullError("could not write init file"), DiskFull, "is full and it takes no new"),
            (TimeoutError(), PostgresUnreachable, "did not answer within 10 s"),
            (ssl.SSLError(1, "[SSL] bad certificate"), PostgresUnreachable, "TLS handshake"),
            (OSError("no route\nto host"), PostgresUnreachable, "cannot be reached: no route to host."),
            (asyncpg.TooManyConnectionsError("too many"), PostgresUnreachable, "too many"),
            (ConnectionResetError(), PostgresUnreachable, "ConnectionResetError"),
        ],
    )
    def test_each_is_one_sentence_that_names_the_server(self, error, kind, said) -> None:
        found = db.connect_error(self.URL, error)
        assert type(found) is kind
        assert said in found.detail
        assert "db.example:5433/cos" in found.detail
        assert "hush" not in found.detail
        assert "\n" not in found.detail

    def test_what_is_said_already_stays(self) -> None:
        said = NotFound("said")
        assert db.connect_error(self.URL, said) is said

    @pytest.mark.parametrize(
        ("url", "named"),
        [
            ("postgresql://me:hush@host:5433/cos", "host:5433/cos"),
            ("postgresql://me:hush@host/cos", "host/cos"),
            ("postgresql://cos@/cos?host=%2Frun%2Fcos", "the local socket/cos"),
            ("postgresql://me:hush@host:port/cos", "the given URL"),
            ("postgresql://me:[hush@host/cos", "the given URL"),
            ("postgresql://me:12/hush@host/cos", "the given URL"),
        ],
    )
    def test_a_server_is_named_without_secrets(self, url, named) -> None:
        assert db.where(url) == named


class TestEngine:
    async def test_a_connection_that_the_server_closed_is_replaced(self, core, pg, eventually) -> None:
        """Once the driver has read the end of the stream, the next session gets a living one and never notices."""
        async with core.sessions() as session:
            raw = await (await session.connection()).get_raw_connection()
            driver = raw.driver_connection
            pid = (await session.execute(text("SELECT pg_backend_pid()"))).scalar_one()
        assert await pg.fetchval("SELECT pg_terminate_backend($1, 5000)", pid)

        async def seen() -> bool:
            return driver.is_closed()

        await eventually(seen)
        async with core.sessions() as session:
            assert (await session.execute(text("SELECT pg_backend_pid()"))).scalar_one() != pid
