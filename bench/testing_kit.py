"""Measures the test kit against what it cannot beat, and against other tools where a Python that has them is given.

    python bench/testing_kit.py [--only NAME …] [--ours PYTHON] [--peers PYTHON] [--docker unix:///path] [--rounds N]

Everything that is compared takes turns in one run. The floors: a bare child process for a server, the same test
without isolation, a direct connection. `--ours` is a Python that has the kit and little else, as a project has it. The
other tools need to be installed beside each other in one environment: pytest, pytest-postgresql, pytest-redis,
testcontainers, redis, psycopg; and for testcontainers an engine that publishes ports (dockerd as it is by default).
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from harness import Comparison, bootstrap, compare
from testing_suites import (
    CLOCK,
    FIRST,
    ISOLATED,
    KIT_POSTGRES,
    KIT_REDIS,
    PEER_CONTAINER,
    PEER_POSTGRES,
    PEER_REDIS,
)

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
    if any(cache.glob("postgres-*")):
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


def suite(python: str, text: str, *arguments: str, **environment: str) -> tuple[float, float]:
    """Time a run of pytest from its command: to its first test, and to its end."""
    with tempfile.TemporaryDirectory() as name:
        Path(name, "test_it.py").write_text(text)
        Path(name, "first.py").write_text(FIRST)
        Path(name, "pytest.ini").write_text("[pytest]\n")
        began = time.monotonic()
        _run(python, Path(name), *arguments, **environment)
        taken = time.monotonic() - began
        return float(Path(name, "first").read_text()) - began, taken


def _run(python: str, folder: Path, *arguments: str, **environment: str) -> None:
    env = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"} | environment
    # Postgres refuses root, and pytest-postgresql does not see to it.
    prefix = ["unshare", "-U", "--map-user=1000", "--map-group=1000"] if os.geteuid() == 0 else []
    done = subprocess.run(
        [*prefix, python, "-m", "pytest", "-q", *WITHOUT, *arguments],
        check=False,
        cwd=folder,
        env=env,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise SystemExit(done.stdout[-2000:] + done.stderr[-500:])


def isolation(python: str, rounds: int) -> str:
    """Compare a test that is rolled back with the same one without isolation: pairs of tests that take turns."""
    costs: dict[str, list[float]] = {"test_bare": [], "test_rolled": []}
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as name:
            Path(name, "test_it.py").write_text(ISOLATED)
            Path(name, "conftest.py").write_text(CLOCK)
            Path(name, "pytest.ini").write_text("[pytest]\npythonpath = .\n")
            _run(python, Path(name), "-o", "cos_isolation=rollback")
            lines = [line.split() for line in Path(name, "costs").read_text().splitlines()[20:]]
            for which, seconds in lines:
                costs[which].append(1000 * float(seconds))
    more = sorted(a - b for a, b in zip(costs["test_rolled"], costs["test_bare"], strict=True))
    low, high = bootstrap(more, seed=0)
    whole = statistics.median(costs["test_rolled"])
    return (
        f"| rollback, more than the same test without | {statistics.median(more):.2f} ms a test ({low:.2f} to "
        f"{high:.2f}; the whole test {whole:.2f} ms) | 1.2 ms |"
    )


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


def imports(ours: str, theirs: str, *, rounds: int) -> str:
    """Compare what importing the tools costs a run that uses neither."""

    def load(python: str, module: str) -> float:
        began = time.perf_counter()
        subprocess.run([python, "-c", f"import pytest, {module}"], check=True)
        return time.perf_counter() - began

    return alternate(
        "import pytest and the kit; pytest and testcontainers",
        lambda: load(ours, "cos.testing.plugin"),
        lambda: load(theirs, "testcontainers.core.container"),
        rounds=rounds,
    )


def peers(rows: Printed, ours: str, theirs: str, docker: str, *, rounds: int) -> None:
    """Compare suites: the time from the command to the first test of one, and to the end of two hundred."""
    redis, folder = find_redis_server(), find_postgres_bin()
    others = {
        "Redis; pytest-redis": (KIT_REDIS, PEER_REDIS, {}),
        "Postgres, a clone a test; pytest-postgresql": (KIT_POSTGRES, PEER_POSTGRES, {}),
    }
    if docker:
        import_image(docker.removeprefix("unix://"))
        environment = {"DOCKER_HOST": docker, "TESTCONTAINERS_RYUK_DISABLED": "true"}
        others["Redis; testcontainers"] = (KIT_REDIS, PEER_CONTAINER, environment)
    for name, (kit, peer, environment) in others.items():
        for count, which, what in ((1, 0, "to the first test"), (200, 1, "200 tests, whole")):
            texts = [text.format(count=count, redis=redis, bin=folder) for text in (kit, peer)]
            rows.append(
                alternate(
                    f"{what}, {name}",
                    lambda text=texts[0], which=which: suite(ours, text)[which],
                    lambda text=texts[1], which=which, env=environment: suite(theirs, text, **env)[which],
                    rounds=rounds,
                )
            )


def import_image(path: str) -> None:
    """Bring the image of our own Redis into an engine, as its tests do."""
    place = Path(__file__).parents[1] / "tests" / "integration" / "testing" / "docker" / "conftest.py"
    spec = importlib.util.spec_from_file_location("docker_image", place)
    assert spec is not None and spec.loader is not None  # noqa: PT018, S101
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.import_image(path)


class Printed(list[str]):
    """Rows that are shown as soon as they are known: a run that is broken off has told what it knew."""

    def append(self, row: str) -> None:
        """Keep and print a row."""
        super().append(row)
        print(row, flush=True)


PARTS = ("proxy", "redis", "postgres", "first", "isolation", "imports", "peers")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--only", choices=PARTS, action="append")
    parser.add_argument("--peers", default="", help="a Python that has the other tools")
    parser.add_argument("--ours", default=sys.executable, help="a Python that has the kit and little else")
    parser.add_argument("--docker", default="", help="an engine for testcontainers")
    given = parser.parse_args()
    wanted = given.only or PARTS
    rows, figures = Printed(), Printed()
    with tempfile.TemporaryDirectory(prefix="cos-kit-", dir=Path.home()) as name:
        cache = Path(name)
        if "redis" in wanted:
            rows.append(
                alternate(
                    "Redis ready; a bare child",
                    lambda: kit_redis(cache),
                    lambda: bare_redis(cache),
                    rounds=given.rounds,
                )
            )
        if "postgres" in wanted:
            kit_postgres(cache)
            warm = [1000 * kit_postgres(cache) for _ in range(given.rounds)]
            spread = f"({min(warm):.0f} to {max(warm):.0f})"
            figures.append(f"| Postgres ready, warm | {statistics.median(warm):.0f} ms {spread} | 300 ms |")
        if "first" in wanted:
            first = [first_postgres(cache) for _ in range(max(3, given.rounds // 2))]
            figures.append(
                f"| Postgres ready, the very first | {statistics.median(first):.2f} s "
                f"({min(first):.2f} to {max(first):.2f}) | 1.5 s |"
            )
        if "isolation" in wanted:
            figures.append(isolation(given.ours, max(2, given.rounds // 4)))
        if "imports" in wanted and given.peers:
            rows.append(imports(given.ours, given.peers, rounds=given.rounds))
        if "peers" in wanted and given.peers:
            peers(rows, given.ours, given.peers, given.docker, rounds=given.rounds)
        if "proxy" in wanted:
            found = asyncio.run(proxy(cache, rounds=given.rounds))
            through, direct = 1000 * found.subject.latency_ms_p50, 1000 * found.floor.latency_ms_p50
            figures.append(
                f"| PING through the proxy | {through / direct:.1f} times a direct one ({through:.0f} against "
                f"{direct:.0f} µs, medians) | 3 times |"
            )
    print(json.dumps({"load": os.getloadavg(), "cores": os.cpu_count()}))


if __name__ == "__main__":
    main()
