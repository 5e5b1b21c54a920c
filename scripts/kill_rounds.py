"""Kills the importer, COS, Redis or Postgres in the middle of an import, and proves that nothing is lost.

python scripts/kill_rounds.py --rounds 20 --seed 1 [--file FILE] [--lines N]

Each round imports a file into a module of its own, kills one victim with kill -9 at a random moment, runs the import
again, and looks: as many records as lines, each line once, and the stream equal to the log, in its order.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gzip
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

import asyncpg
import psutil

from cos.common.redis import create_redis

ROOT = Path(__file__).parents[1]
REAL = ROOT.parent / "shared" / "data" / "authoring-events.jsonl.gz"
SAMPLE = ROOT / "tests" / "data" / "authoring-sample.jsonl"
VICTIMS = ("importer", "cos", "redis", "postgres")
PATIENCE_SECONDS = 60.0


class Broken(AssertionError):
    """A promise was not kept."""


def source() -> Path:
    """Give the real file where it is, else our own sample."""
    return REAL if REAL.exists() else SAMPLE


def read_lines(file: Path) -> list[str]:
    """Read the lines of a file, gzip or not."""
    raw = file.read_bytes()
    return (gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw).decode().splitlines()


def wait_for(check: Callable[[], Any], what: str) -> Any:
    """Poll until a check gives something true; raises Broken after a minute."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not (found := check()):
        if time.monotonic() > deadline:
            raise Broken(f"It never came true: {what}.")
        time.sleep(0.02)
    return found


def has_ended(pid: int) -> bool:
    """Tell whether a process has ended."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


class LivingCos:
    """A COS in a data folder, used as a person would: through its command line."""

    def __init__(self, folder: Path, **settings: str) -> None:
        """Name the folder; nothing is started. Settings are by their variables' names without COS_."""
        ours = ("COS_", "PYTHONDONTWRITEBYTECODE")  # the latter would have each process compile COS anew
        self.folder = folder
        self.known: dict[str, Any] = {}
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(ours)},
            "COS_DATA_DIR": str(folder),
            **{f"COS_{name.upper()}": value for name, value in settings.items()},
        }

    def start(self, *arguments: str, **options: Any) -> subprocess.Popen[bytes]:
        """Start a command and leave it running."""
        command = [sys.executable, "-m", "cos.cli.main", *arguments]
        return subprocess.Popen(command, env=self.environment, **options)

    def run(self, *arguments: str, given: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
        """Run a command to its end."""
        command = [sys.executable, "-m", "cos.cli.main", *arguments]
        return subprocess.run(
            command, env=self.environment, input=given, capture_output=True, timeout=180, check=False
        )

    def good(self, *arguments: str, given: bytes | None = None) -> str:
        """Run a command that must succeed; gives what it printed."""
        ran = self.run(*arguments, given=given)
        if ran.returncode:
            raise Broken(f"cos {' '.join(arguments)} ended with {ran.returncode}: {ran.stderr.decode()}")
        return ran.stdout.decode()

    def up(self) -> dict[str, Any]:
        """Start it in the background; gives its state."""
        self.good("up", "--detach", "--port", "0")
        return self.state()

    def state(self) -> dict[str, Any]:
        """Read what COS says of itself in its folder: addresses and process ids, without measuring anything."""
        self.known = json.loads((self.folder / "run.json").read_bytes())
        return self.known

    def status(self) -> dict[str, Any]:
        """Ask how it is, whatever the answer."""
        found: dict[str, Any] = json.loads(self.run("status", "--json").stdout)
        return found

    def stop(self) -> None:
        """Stop it if it runs."""
        self.run("down")

    def pids(self) -> dict[str, int]:
        """Give the processes that can be killed."""
        state = self.state()
        return {"cos": state["api"]["pid"]} | {name: state[name]["pid"] for name in ("redis", "postgres")}

    def wait_until(self, module: str, count: int, importer: subprocess.Popen[bytes]) -> int:
        """Wait until a module has so many records, or the importer has ended; gives how many it has."""
        return asyncio.run(_wait_until(self.known["postgres"]["url"], module, count, importer))

    def look(self, module: str, count: int) -> tuple[list[str], list[str]]:
        """Give the data of a module's log and of its stream, each in its order, once the stream has so many."""
        return asyncio.run(_look(self.known, module, count))


async def _wait_until(url: str, module: str, count: int, importer: subprocess.Popen[bytes]) -> int:
    connection = await asyncpg.connect(url)
    found = 0
    while found < count and importer.poll() is None:
        found = await connection.fetchval("SELECT count(*) FROM l1.record WHERE module = $1", module)
    await connection.close()
    return found


async def _look(state: dict[str, Any], module: str, count: int) -> tuple[list[str], list[str]]:
    connection = await asyncpg.connect(state["postgres"]["url"])
    rows = await connection.fetch(
        "SELECT id::text, data::text FROM l1.record WHERE module = $1 ORDER BY xact, seq", module
    )
    await connection.close()
    redis = create_redis(state["redis"]["url"])
    entries: list[Any] = []
    deadline = time.monotonic() + PATIENCE_SECONDS
    while len(entries) < count and time.monotonic() < deadline:
        generation: Any = await cast("Any", redis.hget("mem0.highway", "generation"))
        entries = await cast("Any", redis).xrange(f"mem0.stream.{module}.{int(generation or 0)}")
        await asyncio.sleep(0.02)
    await redis.aclose()
    envelopes = [json.loads(fields[b"event"]) for _, fields in entries]
    by_id = {row["id"]: row["data"] for row in rows}
    stream = [by_id.get(one["id"], f"unknown {one['id']}") for one in envelopes]
    for one, text in zip(envelopes, stream, strict=True):
        if one["data"] != json.loads(text):
            raise Broken(f"The stream tells {one['id']} otherwise than the log.")
    return [row["data"] for row in rows], stream


@dataclass(frozen=True)
class Round:
    """What one round showed."""

    victim: str
    recorded: int
    kept: int
    lines: int
    importer_code: int

    def __str__(self) -> str:
        """Give it as a line."""
        return (
            f"{self.victim:<9} killed at {self.recorded:>5} of {self.lines} records, importer ended with "
            f"{self.importer_code:>2}, {self.kept:>5} kept; run again: each once, stream = log"
        )


def check(cos: LivingCos, module: str, lines: list[str]) -> None:
    """Prove that each line stands in the log once, and that the stream is the log; raises Broken."""
    compare(*cos.look(module, len(lines)), lines)


def compare(log: list[str], stream: list[str], lines: list[str]) -> None:
    """Compare what is there with what was given; raises Broken, which names what is lost, doubled or out of order."""
    lost, doubled = Counter(lines) - Counter(log), Counter(log) - Counter(lines)
    if lost or doubled:
        raise Broken(f"{lost.total()} lines are lost, {doubled.total()} are there too often.")
    if stream != log:
        raise Broken(f"The stream ({len(stream)}) is not the log ({len(log)}).")
    if log != lines:
        raise Broken("The log has not the order of the lines.")


def one_round(cos: LivingCos, *, victim: str, module: str, file: Path, at: int, late_seconds: float) -> Round:
    """Import, kill the victim a moment after so many records are there, run the import again, and check."""
    lines = read_lines(file)
    arguments = ("import", "events", str(file), "--module", module)
    pids = cos.pids()
    importer = cos.start(*arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    recorded = cos.wait_until(module, at, importer)
    time.sleep(late_seconds)
    if victim == "importer":
        importer.kill()
    else:
        os.kill(pids[victim], signal.SIGKILL)
    code = importer.wait(PATIENCE_SECONDS)
    if victim == "cos":
        for name, pid in pids.items():  # only the one process was killed: its children must end by themselves
            wait_for(partial(has_ended, pid), f"{name} (pid {pid}) has ended")
        cos.up()
    done = json.loads(cos.good(*arguments, "--json"))
    if done["recorded"] + done["duplicates"] != len(lines):
        raise Broken(f"The second import counts {done} for {len(lines)} lines.")
    check(cos, module, lines)
    return Round(victim, recorded, done["duplicates"], len(lines), code)


@contextlib.contextmanager
def cut(file: Path, count: int | None) -> Iterator[Path]:
    """Give the file, or one with its first lines alone."""
    if count is None:
        yield file
        return
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl", encoding="utf-8") as short:
        short.write("".join(f"{line}\n" for line in read_lines(file)[:count]))
        short.flush()
        yield Path(short.name)


def rounds(
    cos: LivingCos, *, file: Path, victims: list[str], seed: int, show: Callable[[str], None]
) -> list[Round]:
    """Run a round for each victim over a COS that is up; the moments spread over the whole import.

    Raises:
        Broken: at the first promise that was not kept.
    """
    chance = random.Random(seed)  # noqa: S311  (moments, not secrets)
    lines = read_lines(file)
    found = []
    for number, victim in enumerate(victims):
        at, late_seconds = chance.randrange(len(lines)), chance.uniform(0.0, 0.05)
        module = f"round.{seed}.{number}"
        found.append(
            one_round(cos, victim=victim, module=module, file=file, at=at, late_seconds=late_seconds)
        )
        show(str(found[-1]))
    return found


def main() -> int:
    """Run the rounds that the command line asks for, and print a summary."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--file", type=Path, default=source())
    parser.add_argument("--lines", type=int, default=None, help="only so many of the file's lines")
    chosen = parser.parse_args()
    chance = random.Random(chosen.seed)  # noqa: S311  (victims, not secrets)
    victims = [VICTIMS[number % len(VICTIMS)] for number in range(chosen.rounds)]
    chance.shuffle(victims)
    with tempfile.TemporaryDirectory() as folder, cut(chosen.file, chosen.lines) as file:
        cos = LivingCos(Path(folder) / "data")
        cos.up()
        try:
            found = rounds(cos, file=file, victims=victims, seed=chosen.seed, show=print)
        except Broken as broken:
            print(f"BROKEN: {broken}")
            return 1
        finally:
            cos.stop()
    middle = sum(0 < one.recorded < one.lines for one in found)
    print(f"{len(found)} rounds, {dict(Counter(victims))}: nothing lost, nothing twice, stream = log.")
    print(f"{middle} of the kills hit the import between its first and its last record.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
