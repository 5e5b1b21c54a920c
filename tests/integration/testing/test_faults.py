"""Faults of the tests' own servers: there at once, gone with their block, never left."""  # house: length (one subject)

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import select
import signal
import socket
import subprocess
import time
from pathlib import Path

import psutil
import psycopg
import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from cos.errors import BadInput, Conflict
from cos.infra.binaries import find_redis_server
from cos.testing.eventually import eventually


@pytest.fixture
def client(cos_redis):
    """A client that does not hide faults by trying again."""
    with cos_redis.client(socket_timeout=0.3, retry=Retry(NoBackoff(), 0)) as one:
        one.ping()
        yield one


@pytest.fixture
def ask(cos_postgres):
    """A statement on a connection of its own."""

    def run(statement: str = "SELECT 1"):
        with cos_postgres.main.connect(connect_timeout=2) as one:
            return one.execute(statement).fetchone()

    return run


class TestRedis:
    """Each fault as an application feels it."""

    @pytest.mark.parametrize("name", ["stop", "kill", "cut", "reset"])
    def test_it_is_away(self, faults, client, name) -> None:
        """Commands fail at once while it lasts, and succeed afterwards."""
        with getattr(faults.redis, name)() as lease:
            with pytest.raises(redis.ConnectionError):
                client.ping()
            assert faults.armed == [f"redis.{name}"]
        assert lease.healed
        assert eventually(client.ping)

    @pytest.mark.parametrize("name", ["freeze", "blackhole"])
    def test_it_says_nothing(self, faults, client, name) -> None:
        """Commands wait in vain while it lasts."""
        with getattr(faults.redis, name)(), pytest.raises(redis.TimeoutError):
            client.ping()
        assert eventually(client.ping)

    def test_what_was_sent_into_the_hole_arrives(self, faults, cos_redis) -> None:
        """As TCP would deliver it when the way is open again: nothing is lost and nothing cut short."""
        with cos_redis.client(socket_timeout=20) as one, cos_redis.client() as other:
            one.ping()
            with faults.redis.blackhole(seconds=0.2):
                assert one.incr("a") == 1
            assert other.get("a") == b"1"

    def test_it_is_slow(self, faults, cos_redis) -> None:
        """A round trip takes the latency twice; as it is no fault of ours, it may take longer."""
        with cos_redis.client() as one:
            one.ping()
            with faults.redis.slow(latency=0.05, jitter=0.01):
                began = time.monotonic()
                one.ping()
                assert time.monotonic() - began >= 0.08  # house: seconds (at least: the fault itself)

    def test_it_is_narrow(self, faults, cos_redis) -> None:
        """20 kB at 100 kB a second take a fifth of a second."""
        with cos_redis.client() as one:
            one.ping()
            with faults.redis.bandwidth(100_000):
                began = time.monotonic()
                one.set("a", b"x" * 20_000)
                assert time.monotonic() - began >= 0.19  # house: seconds (at least: the fault itself)

    def test_it_is_out_of_memory(self, faults, client) -> None:
        """Writes are refused as Redis itself refuses them, reads go on."""
        client.set("a", 1)
        with faults.redis.out_of_memory():
            with pytest.raises(redis.OutOfMemoryError):
                client.set("a", 2)
            assert client.get("a") == b"1"
        client.set("a", 3)


class TestPostgres:
    """The same for Postgres."""

    @pytest.mark.parametrize("name", ["stop", "kill", "cut", "reset"])
    def test_it_is_away(self, faults, ask, name) -> None:
        assert ask() == (1,)
        with getattr(faults.postgres, name)(), pytest.raises(psycopg.OperationalError):
            ask()
        assert eventually(ask) == (1,)

    def test_what_was_committed_survives_a_kill(self, faults, ask, cos_postgres) -> None:
        with cos_postgres.main.connect() as one:
            one.execute("CREATE TABLE survivor AS SELECT 7 AS n")
        with faults.postgres.kill():
            pass
        assert ask("SELECT n FROM survivor") == (7,)

    @pytest.mark.parametrize("name", ["freeze", "blackhole"])
    def test_it_says_nothing(self, faults, cos_postgres, name) -> None:
        """A statement that was sent is answered when it goes on."""
        with cos_postgres.main.connect() as one:
            pid = one.execute("SELECT pg_backend_pid()").fetchone()[0]
            with getattr(faults.postgres, name)():
                if name == "freeze":
                    assert psutil.Process(pid).status() == psutil.STATUS_STOPPED
                one.pgconn.send_query(b"SELECT 1")
                one.pgconn.flush()
                one.pgconn.consume_input()
                assert one.pgconn.is_busy()
            one.pgconn.consume_input()
            assert one.pgconn.get_result().get_value(0, 0) == b"1"
            assert one.pgconn.get_result() is None

    def test_it_is_out_of_memory(self, faults, cos_postgres) -> None:
        """What needs memory fails with 53200, what needs none goes on, and the server stays up."""
        big = "SELECT length(string_agg(repeat('x', 10000), '')) FROM generate_series(1, 10000)"
        with cos_postgres.main.connect(autocommit=True) as one:
            with faults.postgres.out_of_memory():
                with pytest.raises(psycopg.errors.OutOfMemory):
                    one.execute(big)
                assert one.execute("SELECT 1").fetchone() == (1,)
            assert one.execute(big).fetchone() == (100_000_000,)


class TestLease:
    """How a fault ends."""

    def test_two_at_once_end_apart(self, faults, client) -> None:
        """Redis comes back when the last of two that took it down has ended."""
        one, two = faults.redis.stop(), faults.redis.kill()
        one.heal()
        one.heal()
        with pytest.raises(redis.ConnectionError):
            client.ping()
        two.heal()
        assert client.ping()

    def test_the_deadline_ends_it(self, faults, client, ask) -> None:
        """Nobody asks, and it is over: what the kit, the guard and the proxy keep."""
        leases = [faults.redis.stop(seconds=0.05), faults.postgres.freeze(seconds=0.05)]
        leases.append(faults.proxy("127.0.0.1:9").cut(seconds=0.05))
        assert eventually(client.ping)
        assert eventually(ask) == (1,)
        assert leases[0].overdue

    def test_quiet_ends_all(self, faults, client, ask) -> None:
        """One call, and everything answers."""
        faults.redis.kill()
        faults.postgres.freeze()
        faults.redis.slow(latency=5)
        assert faults.armed == ["redis.kill", "postgres.freeze", "redis.slow"]
        faults.quiet()
        assert faults.armed == []
        assert client.ping()
        assert ask() == (1,)

    async def test_quiet_in_a_loop_waits_too(self, faults, client) -> None:
        """It holds the loop up rather than return before all is well; `aquiet` does not."""
        faults.redis.kill()
        faults.postgres.freeze()
        faults.quiet()
        assert client.ping()
        assert faults.armed == []

    async def test_in_a_loop(self, faults, cos_redis) -> None:
        """`async with` ends it without holding up the loop."""
        turns = 0

        async def turn() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        task = asyncio.create_task(turn())
        async with cos_redis.aclient(retry=Retry(NoBackoff(), 0)) as one:
            async with faults.redis.kill():
                with pytest.raises(redis.ConnectionError):
                    await one.ping()
                before = turns
            assert turns > before + 2
            await faults.aquiet()
            assert await eventually(one.ping)
        task.cancel()

    @pytest.mark.parametrize("seconds", [0, -1, 100_000])
    def test_a_fault_has_an_end(self, faults, seconds) -> None:
        with pytest.raises(BadInput, match="more than 0, and at most a day"):
            faults.redis.stop(seconds=seconds)

    @pytest.mark.parametrize(
        ("make", "sentence"),
        [
            (lambda faults: faults.redis.slow(latency=-1), "give seconds"),
            (lambda faults: faults.redis.bandwidth(0), "above zero"),
            (lambda faults: faults.proxy("nowhere"), "write it as host:port or unix"),
        ],
    )
    def test_nonsense_is_told(self, faults, make, sentence) -> None:
        with pytest.raises(BadInput, match=sentence):
            make(faults)


def broken_off(client: socket.socket) -> bool:
    """Tell whether a connection breaks off when it says something; how it is told depends on the system."""
    try:
        client.sendall(b"x")
        return client.recv(1) == b""
    except ConnectionError:
        return True


class TestProxy:
    """Any address."""

    @pytest.mark.parametrize("kind", ["tcp", "unix"])
    def test_a_server_of_whoever(self, faults, kind, tmp_path) -> None:
        """An echo server behind the proxy: reached, cut off, reached again."""
        server = socket.socket(socket.AF_INET if kind == "tcp" else socket.AF_UNIX)
        server.bind(("127.0.0.1", 0) if kind == "tcp" else str(tmp_path / "s"))
        server.listen()
        name = server.getsockname()
        way = faults.proxy(f"127.0.0.1:{name[1]}" if kind == "tcp" else f"unix://{name}")
        assert way is faults.proxy(name)
        where = (way.host, way.port) if kind == "tcp" else way.host

        def connect() -> socket.socket:
            client = socket.socket(server.family)
            client.settimeout(5)
            try:
                client.connect(where)
            except OSError:
                client.close()
                raise
            return client

        def echo(data: bytes) -> bytes:
            with connect() as client:
                client.sendall(data)
                client.shutdown(socket.SHUT_WR)
                at_server, _ = server.accept()
                with at_server:
                    while got := at_server.recv(65536):
                        at_server.sendall(got)
                return b"".join(iter(lambda: client.recv(65536), b""))

        assert echo(b"abc" * 50_000) == b"abc" * 50_000
        with way.cut(), pytest.raises(ConnectionRefusedError):
            connect()
        assert echo(b"again") == b"again"
        with way.reset(), connect() as client:
            assert broken_off(client)
        server.close()

    def test_it_must_be_on_the_way(self, faults) -> None:
        """Without a way through the proxy its faults are refused, with the reason."""
        with pytest.raises(Conflict, match="cos_proxy = always"):
            faults.arm_route("redis.cut", route=None, fault=lambda weather: weather, seconds=1)


@contextlib.contextmanager
def given_redis(folder):
    """Run a Redis that is not the kit's; gives a client and its address."""
    path = str(folder / "given")
    program = [find_redis_server(), "--port", "0", "--unixsocket", path, "--dir", folder, "--save", ""]
    with subprocess.Popen(program, stdout=subprocess.DEVNULL) as server:
        try:
            eventually(lambda: Path(path).exists(), seconds=20)
            with redis.Redis(unix_socket_path=path, decode_responses=True) as client:
                yield client, f"unix://{path}"
        finally:
            server.kill()


MANY = """
import itertools
import threading
from pathlib import Path

def test_many(faults, cos_redis, cos_postgres):
    ways = [
        lambda: faults.postgres.freeze(seconds=600),
        lambda: faults.redis.out_of_memory(seconds=600),
        lambda: faults.postgres.slow(latency=0.01, seconds=600),
        lambda: faults.redis.blackhole(seconds=600),
        lambda: faults.postgres.out_of_memory(seconds=600),
    ]
    Path("begun").write_text(str(cos_postgres.pid))
    for one, other in itertools.cycle(itertools.combinations(ways, 2)):
        with one(), other():
            threading.Event().wait(0.01)
"""


KILLED = """
from pathlib import Path
import time

def test_armed(faults, cos_redis, cos_postgres):
    faults.redis.freeze(seconds=600)
    faults.postgres.freeze(seconds=600)
    Path("pids").write_text(f"{cos_redis.pid} {cos_postgres.pid}")
    while True:
        time.sleep(1)
"""


LOOPED = """
import time
import pytest

pytestmark = pytest.mark.loops("strict")

async def test_faults_alone(faults):
    with faults.postgres.stop():
        pass
    faults.quiet()

async def test_blocks_in_a_fault(faults):
    async with faults.redis.slow(latency=0.001):
        until = time.thread_time() + 0.5
        while time.thread_time() < until:
            pass
"""


class TestStrictLoops:
    """Beside the loop check."""

    def test_a_fault_is_no_blocking_call(self, project) -> None:
        """What the kit itself waits for is not held against the test, and what the test does meanwhile is."""
        project.write(LOOPED)
        out = project.run()
        assert "1 failed, 1 passed" in out, out
        assert re.search(
            r"LoopBlocked: test_it\.py:1\d in test_blocks_in_a_fault kept the event loop", out
        ), out


QUIET = """
def test_a_fault_ends_with_its_block(faults):
    with faults.postgres.freeze():
        pass
"""


def test_the_end_of_a_run_says_nothing(project) -> None:
    """What is healed last is healed while the servers still run."""
    project.write(QUIET)
    out = project.run("-W", "error")
    assert "1 passed" in out, out
    assert "never awaited" not in out
    assert "Traceback" not in out


class TestFrozen:
    """When a freeze is there."""

    def test_it_stands_when_the_call_returns(self, faults, cos_postgres) -> None:
        """Every process of the server is stopped at once, not soon: no query slips through after it."""
        server = psutil.Process(cos_postgres.pid)
        for _ in range(20):
            with faults.postgres.freeze():
                states = [one.status() for one in (server, *server.children())]
            assert set(states) == {psutil.STATUS_STOPPED}


class TestKilledPytest:
    """What a kill -9 leaves."""

    def test_nothing_is_left(self, project) -> None:
        """Servers that are frozen would outlive the kernel's signal: the guard lets them go on, and they end."""
        project.write(KILLED)
        run = project.begin()
        told = project.path / "pids"
        eventually(lambda: told.exists() and len(told.read_text().split()) == 2, seconds=60)
        processes = [psutil.Process(int(pid)) for pid in told.read_text().split()]
        processes += processes[1].children()
        os.kill(run.pid, signal.SIGKILL)
        run.communicate(timeout=20)
        gone, alive = psutil.wait_procs(processes, timeout=20)
        assert alive == []
        assert len(gone) > 5
        journals = Path(os.environ["XDG_STATE_HOME"], "cos", "testing", "journals")
        eventually(lambda: not list(journals.iterdir()))

    @pytest.mark.parametrize("after", [0.01, 0.13])
    def test_a_redis_that_is_not_its_own(self, project, after) -> None:
        """Two faults at a time come and go while the kill falls: the given Redis is well, the own servers end."""
        project.write(MANY)
        told = project.path / "begun"
        with given_redis(project.path) as (given, address):
            run = project.begin(settings=f"cos_redis_url = {address}")
            try:
                eventually(lambda: told.exists() and told.read_text(), seconds=60)
                own = psutil.Process(int(told.read_text()))
                processes = [own, *own.children()]
                select.select([], [], [], after)
            finally:
                run.kill()
                run.communicate(timeout=20)
            assert psutil.wait_procs(processes, timeout=20)[1] == []
            eventually(lambda: given.config_get("maxmemory")["maxmemory"] == "0")
        journals = Path(os.environ["XDG_STATE_HOME"], "cos", "testing", "journals")
        eventually(lambda: not list(journals.iterdir()))
