"""The guard heals what it made whoever dies, and what a dead guard left is healed by the next."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time

import psutil
import pytest

from cos.errors import Unavailable
from cos.testing.eventually import eventually
from cos.testing.guarded import GuardLine

STEPS = ("born", "guarded", "armed", "healed", "closed")


@pytest.fixture
def victim():
    """A process that is none of ours."""
    with subprocess.Popen(["sleep", "600"]) as process:
        yield psutil.Process(process.pid)
        process.kill()


@pytest.fixture
def journals(tmp_path):
    return tmp_path / "journals"


@pytest.fixture
def guard(journals):
    line = GuardLine(journals=journals)
    yield line
    line.close()


def arm(guard: GuardLine, victim: psutil.Process, *, key: str = "f", seconds: float = 600) -> None:
    guard.arm(key, kind="frozen", wish={"pid": victim.pid}, seconds=seconds)
    assert eventually(lambda: victim.status() == psutil.STATUS_STOPPED)  # once the kernel has stopped it


def goes_on(victim: psutil.Process) -> bool:
    return victim.status() in {psutil.STATUS_SLEEPING, psutil.STATUS_RUNNING, psutil.STATUS_DISK_SLEEP}


class TestEnds:
    """Everything that ends a fault."""

    def test_asked(self, guard, victim, journals) -> None:
        """It is over when the answer comes; the journal has both lines, and goes with the guard."""
        arm(guard, victim)
        assert guard.faults() == ["f"]
        guard.heal("f")
        assert goes_on(victim)
        guard.heal("f")
        first, second = next(journals.iterdir()).read_text().splitlines()
        assert json.loads(first)["note"]["members"][0][0] == victim.pid
        assert json.loads(second) == {"healed": "f"}
        guard.close()
        assert list(journals.iterdir()) == []

    def test_the_deadline(self, guard, victim) -> None:
        """Nobody asks, and it is over."""
        guard.arm("f", kind="frozen", wish={"pid": victim.pid}, seconds=0.05)
        eventually(lambda: goes_on(victim))
        assert guard.faults() == []

    def test_the_owner_hangs_up(self, guard, victim, journals) -> None:
        arm(guard, victim)
        guard.close()
        assert goes_on(victim)
        assert list(journals.iterdir()) == []

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT])
    def test_a_signal_to_the_guard(self, guard, victim, journals, number) -> None:
        """A closed terminal, a Ctrl-C for the whole group, a polite kill: it heals, then it ends."""
        arm(guard, victim)
        os.kill(guard.pid, number)
        eventually(lambda: goes_on(victim))
        eventually(lambda: not journals.is_dir() or not any(journals.iterdir()))

    def test_the_guard_is_killed(self, guard, victim, journals) -> None:
        """The next question starts another guard, which heals what the journal of the dead one says."""
        arm(guard, victim)
        dead = guard.pid
        os.kill(dead, signal.SIGKILL)
        guard.heal("f")
        guard.start()
        assert goes_on(victim)
        assert guard.pid != dead
        assert [path.stem for path in journals.iterdir()] == [str(guard.pid)]

    def test_guard_and_owner_are_killed(self, nursery, guard, victim, journals) -> None:
        """What both left is healed when the next session begins, and not by a session whose guard lives."""
        wish = {"journals": str(journals), "kind": "frozen", "wish": {"pid": victim.pid}}
        other = GuardLine(journals=journals)
        arm(other, victim)
        guard.start()
        assert not goes_on(victim)
        os.kill(other.pid, signal.SIGKILL)
        nursery.owner(wish | {"wish": {"pid": os.getpid() + 10**7}}, step="guarded", after=0)
        assert eventually(lambda: goes_on(victim))
        other.close()

    def test_owners_killed_anywhere(self, nursery, victim, journals) -> None:
        """Forty owners killed at every step and between: the process goes on and no journal is left, each time."""
        dice = random.Random(4)  # noqa: S311
        wish = {"journals": str(journals), "kind": "frozen", "wish": {"pid": victim.pid}}
        for number in range(40):
            nursery.owner(wish, step=STEPS[number % 5], after=dice.uniform(0, 0.02))
            eventually(lambda: not any(journals.glob("*")))
            assert goes_on(victim)


class TestRefusals:
    """What cannot be."""

    def test_a_process_that_is_gone(self, guard, journals) -> None:
        with pytest.raises(Unavailable, match="There is no process"):
            guard.arm("f", kind="frozen", wish={"pid": 2**22 + 1}, seconds=1)
        assert guard.faults() == []
        assert next(journals.iterdir()).read_text() == ""

    def test_a_number_that_is_used_again(self, guard, victim, journals) -> None:
        """A journal names a process by its start too: another that has its number now is left alone."""
        arm(guard, victim)
        path = next(journals.iterdir())
        entry = json.loads(path.read_text())
        os.kill(guard.pid, signal.SIGKILL)
        entry["note"]["members"][0][1] += 1
        path.write_text(json.dumps(entry) + '\n{"key": "cut sho')
        guard.start()
        assert eventually(lambda: victim.status() == psutil.STATUS_STOPPED)  # once the kernel has stopped it
        victim.resume()

    def test_a_journal_of_nonsense(self, guard, journals) -> None:
        """A kind that nobody knows is kept for whoever does, and keeps nobody from starting."""
        journals.mkdir()
        entry = {"key": "f", "kind": "of-the-future", "note": {}, "at": time.time(), "seconds": 1}
        (journals / "1.journal").write_text(json.dumps(entry))
        (journals / "2.journal").write_bytes(b"\x00\xff{")
        guard.start()
        assert sorted(path.stem for path in journals.iterdir()) == sorted(["1", str(guard.pid)])
