"""The small suites that `testing_kit.py` runs: one test, as it is written for the kit and for each of its peers."""

from __future__ import annotations

#: Rolled back and bare in turns, in one run; what a whole test costs, fixtures included, is written down.
ISOLATED = """
import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.orm import sessionmaker

engine = create_engine("postgresql+psycopg://app@nowhere.invalid/app")
Session = sessionmaker(engine)

@pytest.fixture(scope="session")
def cos_schema(cos_template):
    with cos_template.connect() as one:
        one.execute("CREATE TABLE t (n int)")

@pytest.fixture(scope="session")
def cos_engines():
    return [Session]

@pytest.fixture(scope="session")
def bare(cos_main_database):
    made = create_engine(cos_main_database.sqlalchemy)
    yield made
    made.dispose()

@pytest.mark.parametrize("n", range(400))
class TestIt:
    def test_bare(self, n, bare):
        write(bare)

    def test_rolled(self, n, cos_database):
        write(engine)

def write(engine):
    with Session(bind=engine) as session:
        session.execute(text("INSERT INTO t VALUES (1)"))
        session.commit()

def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: (item.callspec.params["n"], item.callspec.params["n"] % 2 == ("bare" in item.name)))
"""
CLOCK = """
import time
import pytest
from test_it import *

@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item, nextitem):
    began = time.perf_counter()
    told = yield
    with open("costs", "a") as file:
        file.write(f"{item.originalname} {time.perf_counter() - began}\\n")
    return told
"""
#: What each suite adds, so that the moment is known in which its first test runs.
FIRST = """
import os, time

def first():
    if not os.path.exists("first"):
        with open("first", "w") as file:
            file.write(str(time.monotonic()))
"""
KIT_REDIS = """
import pytest
from first import first

@pytest.mark.parametrize("n", range({count}))
def test_it(cos_redis, n):
    first()
    with cos_redis.client() as one:
        assert one.incr("hits") == 1
"""
KIT_POSTGRES = """
import pytest
from first import first

@pytest.fixture(scope="session")
def cos_schema(cos_template):
    with cos_template.connect() as one:
        one.execute("CREATE TABLE t (n int)")

@pytest.mark.parametrize("n", range({count}))
def test_it(cos_database, n):
    first()
    with cos_database.connect() as one:
        one.execute("INSERT INTO t VALUES (1)")
        one.commit()
        assert one.execute("SELECT count(*) FROM t").fetchone() == (1,)
"""
PEER_REDIS = """
import pytest
from first import first
from pytest_redis import factories
mine = factories.redis_proc(executable="{redis}")
redisdb = factories.redisdb("mine")

@pytest.mark.parametrize("n", range({count}))
def test_it(redisdb, n):
    first()
    assert redisdb.incr("hits") == 1
"""
PEER_POSTGRES = """
import pytest
from first import first
from pytest_postgresql import factories

def load(**options):
    import psycopg
    with psycopg.connect(**options) as one:
        one.execute("CREATE TABLE t (n int)")

mine = factories.postgresql_proc(executable="{bin}/pg_ctl", unixsocketdir="/tmp", load=[load])
postgresql = factories.postgresql("mine")

@pytest.mark.parametrize("n", range({count}))
def test_it(postgresql, n):
    first()
    postgresql.execute("INSERT INTO t VALUES (1)")
    postgresql.commit()
    assert postgresql.execute("SELECT count(*) FROM t").fetchone() == (1,)
"""
PEER_CONTAINER = """
import pytest
import redis
from first import first
from testcontainers.core.container import DockerContainer
from testcontainers.core.waiting_utils import wait_for_logs

@pytest.fixture(scope="session")
def server():
    made = DockerContainer("cos-testing-redis").with_command("/redis-server --save '' --protected-mode no")
    with made.with_exposed_ports(6379) as one:
        wait_for_logs(one, "Ready to accept connections")
        yield one

@pytest.mark.parametrize("n", range({count}))
def test_it(server, n):
    first()
    with redis.Redis(server.get_container_host_ip(), int(server.get_exposed_port(6379))) as one:
        one.flushall()
        assert one.incr("hits") == 1
"""
