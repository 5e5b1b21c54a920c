"""Measures the test kit against what it cannot beat, and against other tools where a Python that has them is given.

    python bench/testing_kit.py [--peers /path/to/venv/bin/python] [--docker unix:///path/to/docker.sock] [--rounds N]

Everything that is compared takes turns in one run. The floors: a bare child process for a server, the same tests
without isolation, a direct connection. The other tools need to be installed beside each other in one environment:
pytest, pytest-postgresql, pytest-redis, testcontainers, redis, psycopg; and for testcontainers an engine that publishes
ports, with an image `cos-testing-redis` (see tests/integration/testing/docker).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import psutil
from harness import Comparison, bootstrap, compare, quantile, table

from cos.infra.binaries import find_postgres_bin, find_redis_server
from cos.testing.kit import Kit
from cos.testing.proxied import ProxyProcess, Route

WITHOUT = (
    "-p",
    "no:cacheprovider",
    "-p",
    "no:schemathesis",
    "-p",
    "no:hypothesispytest",
    "-p",
    "no:playwright",
)
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
    engine.dispose()
    return create_engine(cos_main_database.sqlalchemy)

@pytest.mark.parametrize("n", range({count}))
def test_it(n, {fixture}):
    with Session({bind}) as session:
        session.execute(text("INSERT INTO t VALUES (1)"))
        session.commit()
"""
KIT_REDIS = "def test_it(cos_redis):\n    with cos_redis.client() as one:\n        assert one.ping()\n"
KIT_POSTGRES = """
def test_it(cos_postgres):
    with cos_postgres.main.connect() as one:
        one.execute("SELECT 1")
"""
PEER_REDIS = """
from pytest_redis import factories
mine = factories.redis_proc(executable="{redis}")
redisdb = factories.redisdb("mine")
def test_it(redisdb):
    assert redisdb.ping()
"""
PEER_POSTGRES = """
from pytest_postgresql import factories
mine = factories.postgresql_proc(executable="{bin}/pg_ctl", unixsocketdir="/tmp")
postgresql = factories.postgresql("mine")
def test_it(postgresql):
    postgresql.execute("SELECT 1")
"""
PEER_CONTAINER = """
import pytest
import redis
from testcontainers.core.container import DockerContainer
from testcontainers.core.waiting_utils import wait_for_logs

@pytest.fixture(scope="session")
def server():
    made = DockerContainer("cos-testing-redis").with_command("/redis-server --save '' --protected-mode no")
    with made.with_exposed_ports(6379) as one:
        wait_for_logs(one, "Ready to accept connections")
        yield one

def test_it(server):
    with redis.Redis(server.get_container_host_ip(), int(server.get_exposed_port(6379))) as one:
        assert one.ping()
"""


def new_kit(cache: Path) -> Kit:
    return Kit(
        project=cache,
        worker="main",
        cache=str(cache),
        postgres_url="",
        postgres_settings={},
        redis_url="",
        docker="",
    )


def until(check: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not check() and time.monotonic() < end:
        time.sleep(0.0005)


def alternate(
    name: str, ours: Callable[[], float], theirs: Callable[[], float], *, rounds: int, scale: float = 1000.0
) -> str:
    """Compare two ways to spend seconds, in turns; gives a row. Below 1 is quicker than the floor."""
    spent: tuple[list[float], list[float]] = ([], [])
    for number in range(-1, rounds):
        for side in (0, 1) if number % 2 else (1, 0):
            seconds = (ours, theirs)[side]()
            if number >= 0:
                spent[side].append(seconds)
    ratios = [a / b for a, b in zip(*spent, strict=True)]
    low, high = bootstrap(ratios, seed=0)
    medians = [f"{scale * statistics.median(side):,.1f}" for side in spent]
    return f"| {name} | {medians[0]} | {medians[1]} | {statistics.median(ratios):.2f} ({low:.2f} to {high:.2f}) |"


def kit_redis(cache: Path) -> float:
    kit = new_kit(cache)
    _ = kit.folder, kit.backstage
    began = time.perf_counter()
    assert kit.redis.answers()  # noqa: S101
    taken = time.perf_counter() - began
    kit.close()
    return taken


def bare_redis(cache: Path) -> float:
    folder = Path(tempfile.mkdtemp(dir=cache))
    path = str(folder / "s")
    program = [find_redis_server(), "--port", "0", "--unixsocket", path, "--dir", folder, "--save", ""]
    began = time.perf_counter()
    with subprocess.Popen(program, stdout=subprocess.DEVNULL) as process:

        def answers() -> bool:
            try:
                with socket.socket(socket.AF_UNIX) as one:
                    one.connect(path)
                    one.sendall(b"PING\r\n")
                    return one.recv(7) == b"+PONG\r\n"
            except OSError:
                return False

        until(answers)
        taken = time.perf_counter() - began
        process.kill()
    shutil.rmtree(folder)
    return taken


def kit_postgres(cache: Path) -> float:
    kit = new_kit(cache)
    _ = kit.folder, kit.backstage
    until(lambda: len(list(cache.glob("postgres-*/spare-*"))) == 2)
    began = time.perf_counter()
    assert kit.postgres.pid  # noqa: S101
    taken = time.perf_counter() - began
    kit.close()
    return taken


def first_postgres(cache: Path) -> float:
    """Start where nothing was prepared."""
    return kit_postgres_cold(Path(tempfile.mkdtemp(dir=cache)))


def kit_postgres_cold(cache: Path) -> float:
    kit = new_kit(cache)
    began = time.perf_counter()
    assert kit.postgres.pid  # noqa: S101
    taken = time.perf_counter() - began
    kit.close()
    until(lambda: len(list(cache.glob("postgres-*/spare-*"))) == 2)
    shutil.rmtree(cache, ignore_errors=True)
    return taken


def suite(python: str, text: str, *arguments: str, **environment: str) -> float:
    """Time a whole run of pytest."""
    with tempfile.TemporaryDirectory() as name:
        Path(name, "test_it.py").write_text(text)
        Path(name, "pytest.ini").write_text("[pytest]\n")
        env = {
            key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"
        } | environment
        # Postgres refuses root, and pytest-postgresql does not see to it.
        prefix = ["unshare", "-U", "--map-user=1000", "--map-group=1000"] if os.geteuid() == 0 else []
        began = time.perf_counter()
        done = subprocess.run(
            [*prefix, python, "-m", "pytest", "-q", *WITHOUT, *arguments],
            check=False,
            cwd=name,
            env=env,
            capture_output=True,
            text=True,
        )
        taken = time.perf_counter() - began
        if done.returncode:
            raise SystemExit(done.stdout[-2000:] + done.stderr[-500:])
        return taken


def isolation(rounds: int) -> str:
    """Compare a test that is rolled back with the same one without isolation, a test, without what both do once."""

    def per_test(fixture: str, bind: str, *arguments: str) -> float:
        few, many = (
            suite(sys.executable, ISOLATED.format(count=count, fixture=fixture, bind=bind), *arguments)
            for count in (50, 450)
        )
        return 1000 * (many - few) / 400

    costs = []
    for _ in range(rounds):
        rolled = per_test("cos_database", "", "-o", "cos_isolation=rollback")
        costs.append(rolled - per_test("bare", "bind=bare"))
    cost = statistics.median(costs)
    return f"| rollback isolation, more than the same test without | {cost:.2f} ms a test | 1.2 ms |"


async def proxy(cache: Path, *, rounds: int) -> Comparison:
    kit = new_kit(cache)
    process = ProxyProcess()
    real = kit.redis.direct.removeprefix("unix://")
    route = Route(process, at=str(kit.public / "p.sock"), to=real)
    ends = []
    for path in (str(route.address), real):
        one = socket.socket(socket.AF_UNIX)
        one.connect(path)
        ends.append(one)

    def ping(one: socket.socket) -> Callable[[], asyncio.Future[bytes]]:
        async def call() -> bytes:
            one.sendall(b"PING\r\n")
            return one.recv(7)

        return call

    found = await compare(
        ping(ends[0]), ping(ends[1]), rounds=rounds, inner=2000, name="PING through the proxy"
    )
    for one in ends:
        one.close()
    process.close()
    kit.close()
    return found


OWNER = """
import sys, time
from pathlib import Path
from cos.testing.guarded import GuardLine
guard = GuardLine(journals=Path(sys.argv[1]))
guard.arm("f", kind="frozen", wish={"pid": int(sys.argv[2])}, seconds=600)
print("armed", flush=True)
time.sleep(600)
"""


def kills(times: int) -> list[str]:
    """Kill owners with an armed fault at random moments, and see when it is healed."""
    dice = random.Random(0)  # noqa: S311
    spent = []
    with tempfile.TemporaryDirectory() as name, subprocess.Popen(["sleep", "3600"]) as victim:
        watched = psutil.Process(victim.pid)
        for _ in range(times):
            owner = subprocess.Popen(
                [sys.executable, "-c", OWNER, name, str(victim.pid)], stdout=subprocess.PIPE, text=True
            )
            assert owner.stdout is not None  # noqa: S101
            owner.stdout.readline()
            time.sleep(dice.uniform(0, 0.05))
            assert watched.status() == psutil.STATUS_STOPPED  # noqa: S101
            began = time.perf_counter()
            owner.kill()
            until(lambda: watched.status() != psutil.STATUS_STOPPED)
            if watched.status() != psutil.STATUS_STOPPED:
                spent.append(1000 * (time.perf_counter() - began))
            owner.communicate()
        victim.kill()
    p95 = quantile(sorted(spent), 0.95)
    return [
        f"| kill -9 of the owner of an armed fault | {len(spent)} of {times} healed, p95 {p95:.0f} ms | all, 100 ms |"
    ]


def peers(kit: str, python: str, docker: str, *, rounds: int) -> list[str]:
    """Compare whole runs of one test: from the command to the end."""
    redis, folder = find_redis_server(), find_postgres_bin()
    rows = [
        alternate(
            "one test with Redis; pytest-redis",
            lambda: suite(kit, KIT_REDIS),
            lambda: suite(python, PEER_REDIS.format(redis=redis)),
            rounds=rounds,
        ),
        alternate(
            "one test with Postgres; pytest-postgresql",
            lambda: suite(kit, KIT_POSTGRES),
            lambda: suite(python, PEER_POSTGRES.format(bin=folder)),
            rounds=rounds,
        ),
    ]
    if docker:
        environment = {"DOCKER_HOST": docker, "TESTCONTAINERS_RYUK_DISABLED": "true"}
        rows.append(
            alternate(
                "one test with Redis; testcontainers",
                lambda: suite(kit, KIT_REDIS),
                lambda: suite(python, PEER_CONTAINER, **environment),
                rounds=rounds,
            )
        )
    return rows


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--peers", default="", help="a Python that has the other tools")
    parser.add_argument("--ours", default=sys.executable, help="a Python that has the kit and little else")
    parser.add_argument("--docker", default="", help="an engine for testcontainers")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="cos-kit-", dir=Path.home()) as name:
        cache = Path(name)
        first = [first_postgres(cache) for _ in range(3)]
        found = asyncio.run(proxy(cache, rounds=given.rounds))
        rows = [
            alternate(
                "Redis ready; a bare child",
                lambda: kit_redis(cache),
                lambda: bare_redis(cache),
                rounds=given.rounds,
            ),
            alternate(
                "Postgres ready, warm; the very first one",
                lambda: kit_postgres(cache),
                lambda: first_postgres(cache),
                rounds=max(2, given.rounds // 3),
            ),
        ]
        if given.peers:
            rows += peers(given.ours, given.peers, given.docker, rounds=max(2, given.rounds // 3))
        figures = [
            f"| Postgres ready, the very first | {statistics.median(first):.2f} s | 1.5 s |",
            isolation(max(2, given.rounds // 3)),
            *kills(given.kills),
        ]
    print("| ours; the other | ours, ms | the other, ms | ratio (90 % interval) |\n| --- | --- | --- | --- |")
    print("\n".join(rows))
    print("\n| | measured | target |\n| --- | --- | --- |")
    print("\n".join(figures))
    print("\n" + table([found]))
    print(json.dumps({"load": os.getloadavg(), "cores": os.cpu_count()}))


if __name__ == "__main__":
    main()
