"""A Postgres and a Redis for tests: there at once, reached by every driver, met by nobody else, gone with pytest."""

from __future__ import annotations

import os
import signal
import time

import asyncpg
import psutil
import pytest

from cos.common.redis import create_redis

DRIVERS = """
import asyncpg
import psycopg
from sqlalchemy import create_engine, text
from sqlalchemy.ext.asyncio import create_async_engine

def test_psycopg(cos_postgres):
    with psycopg.connect(cos_postgres.url) as one:
        assert one.execute("SELECT 41 + 1").fetchone() == (42,)
    with cos_postgres.main.connect() as one:
        assert one.execute("SHOW fsync").fetchone() == ("off",)

async def test_asyncpg(cos_postgres):
    one = await asyncpg.connect(cos_postgres.url)
    assert await one.fetchval("SELECT 42") == 42
    await one.close()
    two = await cos_postgres.main.aconnect()
    assert await two.fetchval("SELECT 42") == 42
    await two.close()

def test_sqlalchemy(cos_postgres):
    engine = create_engine(cos_postgres.main.sqlalchemy)
    with engine.connect() as one:
        assert one.execute(text("SELECT 42")).scalar() == 42
    engine.dispose()

async def test_sqlalchemy_async(cos_postgres):
    engine = create_async_engine(cos_postgres.main.sqlalchemy_async)
    async with engine.connect() as one:
        assert (await one.execute(text("SELECT 42"))).scalar() == 42
    await engine.dispose()

def test_django(cos_postgres):
    told = cos_postgres.main.django
    with psycopg.connect(host=told["HOST"], port=told["PORT"], user=told["USER"], dbname=told["NAME"]) as one:
        assert one.execute("SELECT 42").fetchone() == (42,)

def test_settings(cos_postgres):
    with cos_postgres.main.connect() as one:
        assert one.execute("SHOW max_connections").fetchone() == ("37",)

def test_redis(cos_redis):
    with cos_redis.client() as one:
        one.set("a", 1)
        assert one.get("a") == b"1"

async def test_redis_is_empty_again(cos_redis):
    async with cos_redis.aclient() as one:
        assert await one.get("a") is None
"""

CROWD = """
import time
import pytest

@pytest.mark.parametrize("number", range(6))
def test_alone(cos_redis, cos_postgres, cos_database, number):
    with cos_redis.client() as one, cos_database.connect() as two:
        assert one.incr("hits") == 1
        two.execute("CREATE TABLE same_name (n int)")
        two.commit()
        assert one.incr("hits") == 2
"""

UNUSED = """
import sys

def test_nothing_is_loaded():
    wanted = {"cos.infra", "cos.testing.backstage", "cos.testing.arming", "structlog", "sqlalchemy", "redis", "asyncpg"}
    assert wanted & set(sys.modules) == set()
"""

WAITING = """
import sys, time
from pathlib import Path

def test_wait(cos_redis, cos_postgres):
    Path("pids").write_text(f"{cos_redis.pid} {cos_postgres.pid}")
    while Path("pids").exists():
        time.sleep(0.01)
"""


class TestOwnServers:
    """The servers that the kit brings."""

    def test_every_driver_reaches_them(self, project) -> None:
        """psycopg, asyncpg, SQLAlchemy twice, Django and redis-py twice, in one run without a warning."""
        project.write(DRIVERS)
        assert "8 passed" in project.run(settings="cos_postgres_settings = max_connections = 37")

    def test_workers_and_worktrees_never_meet(self, new_project) -> None:
        """Two projects at once, each with two workers: four sessions use the same names undisturbed."""
        runs = []
        for name in ("one", "two"):
            project = new_project(name)
            project.write(CROWD)
            runs.append(project.begin("-n", "2"))
        told = [run.communicate(timeout=100)[0] for run in runs]
        assert ["6 passed" in out for out in told] == [True, True], told

    @pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
    def test_they_die_with_pytest(self, project, number) -> None:
        """Whatever ends pytest ends its servers; the next session leaves nothing of the folder."""
        project.write(WAITING)
        run = project.begin()
        pids: list[int] = []
        deadline = time.monotonic() + 60
        while len(pids) < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
            if (project.path / "pids").exists():
                pids = [int(word) for word in (project.path / "pids").read_text().split()]
        os.kill(run.pid, number)
        run.communicate(timeout=20)
        while any(map(psutil.pid_exists, pids)) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert [pid for pid in pids if psutil.pid_exists(pid)] == []

    def test_what_a_dead_session_left_is_swept(self, project) -> None:
        """The folder of a session that was killed is gone after the next one."""
        project.write(DRIVERS)
        left = project.cache / "sessions" / "aaaaaaaa-1-main-dead"
        (left / "redis").mkdir(parents=True)
        (left / "alive").touch()
        project.run("-k", "test_redis")
        deadline = time.monotonic() + 20
        while left.exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        assert not left.exists()

    def test_unused_it_loads_nothing(self, project) -> None:
        """A project that has the kit and does not use it pays for no server, driver or library."""
        project.write(UNUSED)
        assert "1 passed" in project.run("-p", "no:asyncio", "-p", "no:xdist", "-W", "ignore")


class TestGivenServers:
    """Servers that are given by a URL."""

    async def test_they_are_used_and_left_as_they_were(self, project, servers, clean) -> None:
        """Databases of the session are dropped afterwards, and no key that was there is touched."""
        project.write(CROWD)
        async with create_redis(servers.redis.url) as client:
            await client.set("theirs", 1)
            out = project.run(
                f"--cos-postgres-url={servers.postgres.url}", f"--cos-redis-url={servers.redis.url}"
            )
            assert "6 passed" in out, out
            assert await client.keys() == [b"theirs"]
            assert (await client.info("keyspace")).keys() == {"db0"}
        one = await asyncpg.connect(servers.postgres.url)
        assert await one.fetchval("SELECT count(*) FROM pg_database WHERE datname LIKE 'cos\\_%'") == 0
        await one.close()

    async def test_what_a_dead_session_left_is_dropped(self, project, servers, clean) -> None:
        """Databases whose session lives no more go with the next session."""
        one = await asyncpg.connect(servers.postgres.url)
        await one.execute("CREATE DATABASE cos_0badcafe_7")
        project.write(CROWD)
        out = project.run(f"--cos-postgres-url={servers.postgres.url}", "-k", "0")
        assert "1 passed" in out, out
        assert await one.fetchval("SELECT count(*) FROM pg_database WHERE datname LIKE 'cos\\_%'") == 0
        await one.close()


class TestBadInput:
    """What a person reads who gave something wrong."""

    @pytest.mark.parametrize(
        ("settings", "sentence"),
        [
            (
                "cos_postgres_url = mysql://x/y",
                "cos_postgres_url is no URL of a Postgres: it looks like postgresql://",
            ),
            ("cos_postgres_url = postgresql://u@127.0.0.1:1/x", "cannot be reached"),
            ("cos_postgres_settings = fsync on", "has the line 'fsync on': write it as name = value"),
            ("cos_postgres_settings = no_such_setting = 1", "unrecognized configuration parameter"),
            ("cos_redis_url = http://x", "cos_redis_url is no URL of a Redis: it looks like redis://"),
            (
                "cos_redis_url = redis://127.0.0.1:1/0",
                "cannot be reached (Error 111 connecting to 127.0.0.1:1",
            ),
            ("cos_isolation = nothing", "cos_isolation is 'nothing': it can be 'commit' or 'rollback'"),
            ("cos_proxy = often", "cos_proxy is 'often': it can be auto, always or never"),
        ],
    )
    def test_it_is_told_in_one_sentence(self, project, settings, sentence) -> None:
        """The value and the way out, and no traceback."""
        project.write(CROWD)
        out = project.run("-k", "0", settings=settings)
        assert sentence in out
        assert "Traceback" not in out

    def test_a_folder_that_cannot_be_written(self, project, tmp_path) -> None:
        """The folder and the setting are named."""
        (tmp_path / "file").touch()
        project.cache = tmp_path / "file" / "inside"
        project.write(CROWD)
        out = project.run("-k", "0")
        assert "name one with cos_cache_dir" in out
        assert "Traceback" not in out
