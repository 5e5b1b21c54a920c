"""A short slice of the chaos suite: a few histories of a fixed seed, and proof that a broken promise is found."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

RUN = Path(__file__).parent / "run.py"


@pytest.fixture
def chaos(tmp_path: Path):
    """Run the program as `make chaos` does; gives its exit status and what it said."""

    def run(*arguments: str) -> tuple[int, str]:
        done = subprocess.run(
            [sys.executable, str(RUN), *arguments],
            env={"PATH": "/usr/bin:/bin", "TMPDIR": str(tmp_path), "HOME": str(tmp_path)},
            capture_output=True,
            text=True,
            timeout=110,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr

    return run


def test_every_promise_holds_through_a_few_histories(chaos) -> None:
    status, said = chaos("--seed", "1", "--histories", "2")
    assert (status, "every promise held" in said) == (0, True), said


def test_a_broken_promise_is_found_and_told_with_its_seed(chaos) -> None:
    """Events that are announced before their transaction has committed: ghosts, when it is rolled back."""
    status, said = chaos(
        *("--seed", "1", "--only", "0", "--mutant", "early-publish", "--faults", "redis.clients"),
        *("--patience", "1"),
    )
    assert (status, "BROKEN in history" in said, "--seed 1 --only" in said) == (1, True, True), said
