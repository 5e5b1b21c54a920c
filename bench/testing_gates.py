"""Measures how often a benchmark gate is wrong: trials with equal sides and with a slower one, under noise.

    python bench/testing_gates.py [--trials 60] [--slower 1.3] [--at-most 1.15]

Each trial is a whole comparison with a bound, as a test makes it. Half of them run while other processes keep the
machine busy in bursts. Beside it, on the same calls: what a stored mean with a bound of 20 % would have said.
"""

from __future__ import annotations

import argparse
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from cos.testing.benchmark import compare
from cos.testing.comparison import TooSlow

STEPS = 20_000
CALLS = 30
BUSY = """
import random, time
while True:
    end = time.time() + random.random() / 2
    while time.time() < end: pass
    time.sleep(random.random() / 2)
"""


def busy(steps: int) -> Callable[[], None]:
    def run() -> None:
        for _ in range(steps):
            pass

    return run


@contextmanager
def noise(processes: int) -> Iterator[None]:
    started = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(processes)]
    try:
        yield
    finally:
        for one in started:
            one.kill()
            one.wait()


def mean_of(call: Callable[[], None]) -> float:
    began = time.perf_counter()
    for _ in range(CALLS):
        call()
    return (time.perf_counter() - began) / CALLS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=60)
    parser.add_argument("--slower", type=float, default=1.3)
    parser.add_argument("--at-most", type=float, default=1.15)
    parser.add_argument("--seconds", type=float, default=5.0)
    arguments = parser.parse_args()
    floor, slower = busy(STEPS), busy(int(STEPS * arguments.slower))
    baseline = statistics.mean(mean_of(floor) for _ in range(5))
    order = [True, False] * arguments.trials
    random.shuffle(order)
    alarms = {"equal": 0, "slower": 0}
    stored = {"equal": 0, "slower": 0}
    took = []
    for number, equal in enumerate(order):
        kind, call = ("equal", busy(STEPS)) if equal else ("slower", slower)
        with noise(2 if number % 2 else 0):
            began = time.perf_counter()
            try:
                compare(call, floor, at_most=arguments.at_most, seconds=arguments.seconds, memory=False)
            except TooSlow:
                alarms[kind] += 1
            took.append(time.perf_counter() - began)
            stored[kind] += mean_of(call) > 1.2 * baseline
    count = arguments.trials
    print(
        f"pairs:       {alarms['equal']} false alarms of {count}, {alarms['slower']} of {count} slower ones found"
    )
    print(
        f"stored mean: {stored['equal']} false alarms of {count}, {stored['slower']} of {count} slower ones found"
    )
    print(f"a trial took {statistics.median(took):.2f} s at the median, {max(took):.2f} s at the most")


if __name__ == "__main__":
    main()
