"""Runs random histories of writes and faults against a real COS, and checks its promises when each is over.

`make chaos` runs 200. Everything of a history is drawn from the seed and its number: `--seed S --only N` draws the same
one again.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import httpx
import mutants
import uvloop
from checker import Checker
from draw import KINDS, History, draw
from faults import strike
from producers import Model, produce
from rig import ChaosFailed, Rig

from cos.common import db, log

#: A rig is made anew after so many histories: what is checked is all that it has seen.
HISTORIES_A_RIG = 20
QUIET_SECONDS = 40.0
#: What a process may have gained, from its first quiet moment to its last: a leak grows with each history.
MORE_DESCRIPTORS, MORE_MIB, MORE_TASKS, MORE_CONNECTIONS = 30, 80, 6, 25
#: How long it may stay there until it counts as one.
LEAK_SECONDS = 10.0


def say(text: str) -> None:
    """Tell the person who waits."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


async def play(
    rig: Rig, model: Model, checker: Checker, history: History, *, patience: float = QUIET_SECONDS
) -> float:
    """Do one history and wait until every promise holds; gives the seconds that this took after the last fault.

    Args:
        rig: what is struck.
        model: keeps what the producers were told.
        checker: of that rig and model.
        history: what is done.
        patience: how long it may take until all is quiet, in seconds.

    Raises:
        ChaosFailed: one did not hold in time; says which.
    """
    if any(one.kind == "stream.trim" for one in history.strikes):
        checker.shortened.update(("m0", "m1", "m2"))
    base = f"http://127.0.0.1:{rig.port}"
    async with (
        httpx.AsyncClient(base_url=base, timeout=5.0, trust_env=False) as http,
        asyncio.TaskGroup() as tasks,
    ):
        for one in history.strikes:
            tasks.create_task(strike(rig, one), name=f"chaos:{one.kind}")
        for write in history.writes:
            tasks.create_task(produce(rig, model, write, http), name="chaos:write")
    began = time.monotonic()
    while True:
        try:
            found = await checker.violations()
        except (OSError, httpx.HTTPError, *_AWAY) as error:
            rig.forget_look()
            found = [f"the servers do not answer: {error!r}"]
        if not found:
            return time.monotonic() - began
        if time.monotonic() - began > patience:
            raise ChaosFailed(found[0] + (f"\n  and {len(found) - 1} more" if len(found) > 1 else ""))
        await asyncio.sleep(0.1)


def _away() -> tuple[type[Exception], ...]:
    import asyncpg  # noqa: PLC0415  (named once)
    from redis.exceptions import RedisError  # noqa: PLC0415  (as above)

    return (RedisError, asyncpg.PostgresError, *db.LOST)


_AWAY = _away()


async def several(seed: int, numbers: list[int], given: argparse.Namespace, counts: Counter[str]) -> str:
    """Run some histories on one rig; gives what was broken, nothing if all held."""
    folder = Path(tempfile.mkdtemp(prefix="cos-chaos-"))
    rig, model = Rig(folder, mutant=given.mutant), Model()
    failed = ""
    first: dict[str, int] = {}
    try:
        await rig.start()
        checker = Checker(rig, model)

        def set_back(kept: frozenset[str], model: Model = model, checker: Checker = checker) -> None:
            model.set_back(kept)
            checker.set_back()

        rig.certain, rig.set_back = model.certain, set_back
        for number in numbers:
            history = draw(seed, number, kinds=given.faults, writes=given.writes)
            began = time.monotonic()
            try:
                quiet = await play(rig, model, checker, history, patience=given.patience)
                for one in rig.processes:
                    await one.ensure() if not given.mutant else None
                    one.pid  # noqa: B018  (raises when it has ended by itself)
                await _does_not_grow(rig, first)
            except* ChaosFailed as group:
                failed = str(group.exceptions[0])
            except* Exception as group:  # noqa: BLE001  (told with the seed, like a broken promise)
                failed = f"{group.exceptions[0]!r}"
            took = time.monotonic() - began
            if failed:
                await _report(rig, history, failed, folder)
                return failed
            counts["histories"] += 1
            counts["events"] = len(model.fate)
            counts.update(one.kind for one in history.strikes)
            if given.verbose or number % 10 == 9:
                kinds = ", ".join(one.kind for one in history.strikes)
                say(f"  history {number}: {took:.1f} s, quiet after {quiet:.1f} s ({kinds})")
        counts["recorded"] += sum(1 for fate in model.fate.values() if fate == "must")
        counts["unknown"] += sum(1 for fate in model.fate.values() if fate == "may")
        counts["tries"] += model.tries
        counts["repeated with the same keys"] += model.again
        counts["serialization failures"] += model.conflicts
        counts["feed connections"] += rig.reader.connections if rig.reader else 0
        return ""
    finally:
        await rig.stop()
        if not failed:
            shutil.rmtree(folder, ignore_errors=True)


async def _does_not_grow(rig: Rig, first: dict[str, int]) -> None:
    """Look until nothing is above what it may be: work of a moment passes, what leaks stays."""
    until = time.monotonic() + LEAK_SECONDS
    while grown := _grown(first, await rig.footprint()):
        if time.monotonic() > until:
            raise ChaosFailed(f"something leaks: {grown}")
        await asyncio.sleep(0.2)


def _grown(first: dict[str, int], now: dict[str, int]) -> str:
    for name, value in now.items():
        more = value - first.setdefault(name, value)
        most = (
            MORE_DESCRIPTORS
            if name.endswith("descriptors")
            else MORE_MIB
            if name.endswith("MiB")
            else MORE_TASKS
            if name == "tasks"
            else MORE_CONNECTIONS
        )
        if more > most:
            return f"{name} rose from {value - more} to {value}"
    return ""


async def _report(rig: Rig, history: History, failed: str, folder: Path) -> None:
    say(f"BROKEN in history {history.number} of seed {history.seed}: {failed}")
    for one in history.strikes:
        say(f"  {one}")
    say(f"  again: make chaos ARGS='--seed {history.seed} --only {history.number}'; logs: {folder}")


async def hunt(seed: int, given: argparse.Namespace) -> int:
    """Break the code in each known way and see it found; gives the exit status."""
    missed = []
    wanted = set(given.mutants or mutants.KNOWN)
    for name, (what, kinds) in mutants.KNOWN.items():
        if name not in wanted:
            continue
        began = time.monotonic()
        one = argparse.Namespace(**vars(given) | {"mutant": name, "faults": kinds, "patience": 12.0})
        found = await several(seed, list(range(15)), one, Counter())
        say(f"{name} ({what}): {'found' if found else 'MISSED'} in {time.monotonic() - began:.0f} s. {found}")
        if not found:
            missed.append(name)
    say(f"Missed: {', '.join(missed) or 'none'}")
    return 1 if missed else 0


async def chaos(given: argparse.Namespace) -> int:
    """Run what was asked for; gives the exit status."""
    log.configure(level="error", shape="text")
    seed = given.seed if given.seed is not None else random.SystemRandom().randrange(10**9)
    if given.mutant == "all":
        say(f"Seed {seed}")
        return await hunt(seed, given)
    began = time.monotonic()
    counts: Counter[str] = Counter()
    numbers = [given.only] if given.only is not None else list(range(given.histories))
    say(f"Seed {seed}, {len(numbers)} histories" + (f", mutant {given.mutant}" if given.mutant else ""))
    for at in range(0, len(numbers), HISTORIES_A_RIG):
        if time.monotonic() - began > given.seconds:
            say(f"The time is up after {counts['histories']} histories.")
            break
        if await several(seed, numbers[at : at + HISTORIES_A_RIG], given, counts):
            return 1
    done = counts.pop("histories")
    say(f"{done} histories in {time.monotonic() - began:.0f} s, every promise held: {dict(counts)}")
    return 0


def main() -> None:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--histories", type=int, default=200)
    parser.add_argument("--seed", type=int, default=None, help="of the run; a random one when absent")
    parser.add_argument("--only", type=int, default=None, help="draw this one history of the seed")
    parser.add_argument(
        "--seconds", type=float, default=1800.0, help="begin no further histories after this time"
    )
    parser.add_argument("--writes", type=int, default=40, help="a history")
    parser.add_argument("--faults", type=lambda text: text.split(","), default=[], help=", ".join(KINDS))
    parser.add_argument(
        "--patience", type=float, default=QUIET_SECONDS, help="seconds until all must be quiet"
    )
    parser.add_argument("--mutant", default="", choices=["", "all", *mutants.KNOWN])
    parser.add_argument("--mutants", type=lambda text: text.split(","), default=[], help="which of all")
    parser.add_argument("--verbose", action="store_true")
    given = parser.parse_args()
    sys.exit(uvloop.run(chaos(given)))


if __name__ == "__main__":
    main()
