"""Kills whole runs of pytest at random moments, with faults of every kind armed, and times until all is healed.

    python bench/testing_kills.py [--kills 100] [--seed 0]

Each run has a Redis that is not its own and a Postgres that is, and goes through pairs of faults without end; half of
the runs have a Redis of their own instead, for the faults that a given server cannot have. "Healed" is the moment when
nobody can meet a fault any more: the given Redis has its memory back, and no process of the run that still lives is
stopped. "Gone" is when nothing of the run lives and its journal is empty.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
from redis import Redis

from cos.infra.binaries import find_redis_server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LIMIT_S = 30.0
TEST = """
import random, threading
from pathlib import Path

def test_many(faults, cos_redis, cos_postgres):
    own = {own}
    ways = [
        faults.postgres.freeze,
        faults.postgres.stop,
        faults.postgres.out_of_memory,
        lambda **much: faults.postgres.slow(latency=0.01, **much),
        faults.redis.out_of_memory,
        faults.redis.blackhole,
        lambda **much: faults.redis.slow(latency=0.01, jitter=0.005, **much),
        *([faults.redis.freeze, faults.redis.kill] if own else []),
    ]
    dice = random.Random({seed})
    note = Path("armed")
    note.write_text("nothing yet")
    while True:
        for way in dice.sample(ways, 2):
            try:
                way(seconds=600)
            except Exception as error:  # two faults may exclude each other: a stopped server cannot be frozen
                if "found the server down" not in str(error) and "no process" not in str(error):
                    Path("failed").write_text(repr(error))
                    raise
        note.write_text(", ".join(faults.armed))
        threading.Event().wait(dice.uniform(0, 0.05))
        faults.quiet()
        note.write_text("between")
"""


@contextlib.contextmanager
def given_redis(folder: Path) -> Iterator[Redis]:
    """Run a Redis that outlives the runs."""
    path = str(folder / "s")
    program = [find_redis_server(), "--port", "0", "--unixsocket", path, "--dir", folder, "--save", ""]
    with subprocess.Popen(program, stdout=subprocess.DEVNULL) as server:
        try:
            until(lambda: Path(path).exists())
            with Redis(unix_socket_path=path) as client:
                yield client
        finally:
            server.kill()


def until(check: Callable[[], bool]) -> bool:
    """Look until it is so, at most for the limit."""
    end = time.monotonic() + LIMIT_S
    while not check():
        if time.monotonic() > end:
            return False
        time.sleep(0.001)
    return True


def family(owner: int, folder: str) -> list[psutil.Process]:
    """Find every process of a run, also those that left its group: by their parents, or by the folder they use."""
    found = []
    with contextlib.suppress(psutil.NoSuchProcess):
        found = psutil.Process(owner).children(recursive=True)
    for one in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if one.pid != owner and one not in found and folder in " ".join([one.cwd(), *one.cmdline()]):
                found.append(one)
    return found


def stopped(processes: list[psutil.Process]) -> bool:
    """Whether one that lives stands still."""
    for one in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            if one.status() == psutil.STATUS_STOPPED:
                return True
    return False


def alive(processes: list[psutil.Process]) -> bool:
    """Whether one lives that is no zombie."""
    for one in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            if one.is_running() and one.status() != psutil.STATUS_ZOMBIE:
                return True
    return False


def kill(place: Path, client: Redis, *, own: bool, seed: int, wait_s: float) -> dict[str, Any]:
    """Let one run begin, kill it, and see what becomes of its faults."""
    folder = place / f"run{seed}"
    folder.mkdir()
    (folder / "test_it.py").write_text(TEST.format(own=own, seed=seed))
    given = "" if own else f"cos_redis_url = unix://{place}/s\n"
    (folder / "pytest.ini").write_text(f"[pytest]\ncos_cache_dir = {place}/cache\n{given}")
    state = folder / "state"
    owner = subprocess.Popen(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "cos.testing.plugin"],
        cwd=folder,
        env=os.environ | {"XDG_STATE_HOME": str(state), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        stdout=subprocess.DEVNULL,
    )
    try:
        until((folder / "armed").exists)
        time.sleep(wait_s)
        members = family(owner.pid, str(folder))
        what = (folder / "armed").read_text()
        began = time.perf_counter()
        was_alive = owner.poll() is None
    finally:
        owner.kill()
    limit = lambda: client.config_get("maxmemory")["maxmemory"] not in {"0", b"0"}  # noqa: E731
    healed = until(lambda: not limit() and not stopped(members))
    healed_ms = 1000 * (time.perf_counter() - began)
    journals = state / "cos" / "testing" / "journals"
    gone = until(lambda: not alive(members) and not any(journals.iterdir()))
    gone_ms = 1000 * (time.perf_counter() - began)
    owner.wait()
    left = [one.cmdline() for one in family(owner.pid, str(folder))]
    failed = (folder / "failed").read_text() if (folder / "failed").exists() else ""
    well = healed and gone and was_alive and not left and not failed and not limit() and client.ping()
    return {
        "armed": what, "well": bool(well), "healed_ms": healed_ms, "gone_ms": gone_ms, "left": left, "failed": failed
    }  # fmt: skip


def main() -> None:
    """Kill, and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    dice = random.Random(given.seed)  # noqa: S311
    found = []
    with (
        tempfile.TemporaryDirectory(prefix="cos-kills-", dir=Path.home(), ignore_cleanup_errors=True) as name,
        given_redis(Path(name)) as client,
    ):
        for n in range(given.kills):
            one = kill(Path(name), client, own=bool(n % 2), seed=n, wait_s=dice.uniform(0, 0.4))
            found.append(one)
            if not one["well"]:
                print(json.dumps(one), flush=True)
    kinds = Counter(kind for one in found for kind in one["armed"].split(", "))
    for what in ("healed_ms", "gone_ms"):
        spent = sorted(one[what] for one in found)
        p95 = spent[min(len(spent) - 1, int(0.95 * len(spent)))]
        print(f"{what}: median {statistics.median(spent):.0f}, p95 {p95:.0f}, most {spent[-1]:.0f}")
    print(f"healed {sum(one['well'] for one in found)} of {len(found)}; armed at the kill: {dict(kinds)}")
    print(json.dumps({"load": os.getloadavg(), "cores": os.cpu_count()}))


if __name__ == "__main__":
    main()
