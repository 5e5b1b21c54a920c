"""Comparisons: what is measured, how a bound is held, and what is refused."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import pytest

from cos.common.ids import dice
from cos.errors import BadInput
from cos.testing import stopwatch
from cos.testing.benchmark import compare, compare_async
from cos.testing.command import Command, CommandFailed
from cos.testing.comparison import TooSlow, interval, quantile
from cos.testing.revisions import compare_revisions


class StandInClock:
    """Time that passes only where a call takes it, with noise from fixed draws."""

    def __init__(self) -> None:
        self.now = 0.0
        self.draws = dice(1)

    def takes(self, seconds):
        """Give a function that takes so long, now and then ten times that, as on a busy machine."""

        def busy() -> None:
            self.now += seconds * (10 if self.draws.random() < 0.2 else self.draws.uniform(0.9, 1.1))

        return busy


@pytest.fixture
def clock(monkeypatch):
    clock = StandInClock()
    monkeypatch.setattr(stopwatch, "seconds", lambda: clock.now)
    return clock


class TestCompare:
    """Functions."""

    def test_the_ratio_is_of_times(self, clock) -> None:
        """Three times the work takes three times as long, whatever else the machine does."""
        found = compare(clock.takes(0.003), clock.takes(0.001), pairs=30, name="thrice")
        assert 2.5 < found.ratio < 3.5
        assert found.ratio_low <= found.ratio <= found.ratio_high
        assert found.proven
        assert found.a.name == "busy"
        assert found.a.calls == found.b.calls
        assert (
            found.a.latency_ms_p50
            <= found.a.latency_ms_p95
            <= found.a.latency_ms_p99
            <= found.a.latency_ms_max
        )
        assert found.b.cpu_ms > 0
        assert str(found).startswith("thrice: ")
        assert len(found.as_json()["ratios"]) == 30

    def test_a_slower_one_is_found_and_an_equal_one_is_not(self, clock) -> None:
        """A bound is broken only when the whole interval is above it; pairs are added until that is clear."""
        with pytest.raises(TooSlow, match=r"busy takes 1\.\d\d times as long .* allowed is 1.1:") as raised:
            compare(clock.takes(0.0013), clock.takes(0.001), at_most=1.1)
        assert raised.value.comparison.at_most == 1.1
        equal = compare(clock.takes(0.001), clock.takes(0.001), at_most=1.1)
        assert equal.proven
        assert len(equal.ratios) >= 10

    def test_the_time_is_kept(self, clock) -> None:
        """What cannot be told in its time passes, and is not proven."""
        found = compare(clock.takes(0.5), clock.takes(0.5), at_most=1.0, seconds=1)
        assert len(found.ratios) == 10
        assert not found.proven

    def test_very_short_calls(self) -> None:
        """They are timed several at once, so that the clock is not what is measured."""
        found = compare(lambda: None, lambda: None, pairs=2, block_s=0.001)
        assert found.a.calls > 1000
        assert found.a.name == "a"

    def test_memory(self) -> None:
        """What a call allocates at its most."""
        found = compare(lambda: bytes(3_000_000), lambda: None, pairs=2, block_s=0.001)
        assert found.a.memory_peak_bytes > 3_000_000 > found.b.memory_peak_bytes
        assert compare(lambda: 1, lambda: 2, pairs=2, block_s=0.001, memory=False).a.memory_peak_bytes is None

    async def test_async(self) -> None:
        """In the running loop, several at once; each call waits, so that many take no longer than one."""
        running = most = 0

        async def call() -> None:
            nonlocal running, most
            running += 1
            most = max(most, running)
            await asyncio.sleep(0)
            running -= 1

        found = await compare_async(call, call, pairs=2, block_s=0.002, workers=4)
        assert most == 4
        assert found.a.calls % 4 == 0
        with pytest.raises(BadInput, match="use `await compare_async"):
            compare(call, call)

    def test_async_without_a_loop(self) -> None:
        """A loop is made for it."""

        async def call() -> None:
            await asyncio.sleep(0)

        assert compare(call, call, pairs=2, block_s=0.001).a.name == "call"

    @pytest.mark.parametrize(
        ("how", "sentence"),
        [
            ({"pairs": 1}, "pairs is 1: give 2 at least"),
            ({"block_s": 0}, "block_s is 0"),
            ({"seconds": float("inf")}, "seconds is inf"),
            ({"at_most": -1}, "at_most is -1"),
            ({"workers": 0}, "workers is 0"),
            ({"rounds": 9}, "compare knows no rounds: give pairs, "),
        ],
    )
    def test_bad_numbers(self, how, sentence) -> None:
        with pytest.raises(BadInput, match=sentence):
            compare(len, len, **how)


class TestCommands:
    """Whole processes."""

    def test_time_cpu_and_memory(self) -> None:
        """The one that allocates and computes shows it."""
        heavy = Command(
            [sys.executable, "-S", "-c", "x = b'x' * 60_000_000; sum(range(3_000_000))"], name="heavy"
        )
        light = Command(
            [sys.executable, "-S", "-c", "import os; assert os.getenv('A') == 'b'"], env={"A": "b"}
        )
        found = compare(heavy, light, pairs=3)
        assert found.a.cpu_ms > found.b.cpu_ms > 0
        assert found.a.memory_peak_bytes > 60_000_000 > found.b.memory_peak_bytes
        assert (found.a.name, found.b.name) == ("heavy", "b")

    @pytest.mark.parametrize(
        ("command", "sentence"),
        [
            (Command(["/nowhere/at-all"]), "`/nowhere/at-all` cannot be started"),
            (
                Command([sys.executable, "-c", "raise SystemExit('no such book')"]),
                "ended with 1: no such book",
            ),
            (Command([sys.executable, "-c", "input.wait()"]), "ended with 1: "),
            (Command(["/bin/sleep", "60"], timeout_s=0.1), "was killed after 0.1 s"),
        ],
    )
    def test_a_command_that_fails(self, command, sentence) -> None:
        with pytest.raises(CommandFailed, match=sentence):
            compare(command, command)


class TestRevisions:
    """Two revisions of a repository."""

    @pytest.fixture
    def repository(self, tmp_path):
        def git(*arguments) -> None:
            name = [
                "-c",
                "user.name=a",
                "-c",
                "user.email=a@example.invalid",
                "-c",
                "init.defaultBranch=main",
            ]
            subprocess.run(["git", *name, *arguments], cwd=tmp_path, check=True, capture_output=True)

        git("init")
        (tmp_path / "job.py").write_text("import sys\nsum(range(100_000))\n")
        git("add", ".")
        git("commit", "-m", "one")
        git("tag", "old")
        (tmp_path / "job.py").write_text("import sys\nsum(range(8_000_000))\n")
        return tmp_path

    def test_the_working_tree_against_a_tag(self, repository) -> None:
        """What is not committed is measured as it stands; no worktree is left."""
        with pytest.raises(TooSlow, match=r"\. takes .* times as long as old"):
            compare_revisions(
                ".",
                "old",
                [sys.executable, "-S", "{root}/job.py"],
                repository=repository,
                at_most=1.2,
                pairs=3,
            )
        listed = subprocess.run(
            ["git", "worktree", "list"], cwd=repository, capture_output=True, text=True, check=True
        )
        assert len(listed.stdout.splitlines()) == 1

    def test_no_such_revision_or_repository(self, repository, tmp_path_factory) -> None:
        with pytest.raises(BadInput, match="There is no revision 'nowhere' in"):
            compare_revisions("nowhere", "old", ["true"], repository=repository)
        with pytest.raises(BadInput, match=r"git rev-parse failed in .*not a git repository"):
            compare_revisions("a", "b", ["true"], repository=tmp_path_factory.mktemp("empty"))


class TestInterval:
    """The bootstrap."""

    def test_it_holds_the_median_and_is_repeatable(self) -> None:
        ratios = [1 + 0.01 * ((7 * n) % 11 - 5) for n in range(40)]
        low, high = interval(ratios)
        assert low <= 1 <= high
        assert interval(ratios) == (low, high)
        wide = interval(ratios, sure=0.999)
        assert wide[0] <= low <= high <= wide[1]
        assert quantile([1.0, 2.0, 3.0], 0.25) == 1.5
        with pytest.raises(BadInput, match="1 ratio"):
            interval([1.0])


class TestFixture:
    """`bench`, the mark and the table, in a run of pytest."""

    def test_bounds_and_the_table(self, pytester, monkeypatch) -> None:
        monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
        pytester.makepyfile(
            """
            import pytest
            def f(): pass
            def slow(): sum(range(1000))
            def test_equal(bench): bench.compare(f, f, at_most=5, block_s=0.001, seconds=1)
            def test_slower(bench): bench.compare(slow, f, at_most=1.5, block_s=0.001, seconds=1)
            def test_absolute(bench):
                bench.tripwire(bench.compare(f, f, pairs=2, block_s=0.001).a, latency_ms_p95=1000)
            @pytest.mark.tripwire
            def test_tripwire(bench):
                found = bench.compare(f, f, pairs=2, block_s=0.001)
                bench.tripwire(found.a, latency_ms_p95=1000)
                bench.tripwire(found.a, latency_ms_p95=-1)
            """
        )
        result = pytester.runpytest_subprocess(
            "-p", "cos.testing.plugin", "--cos-report=r.jsonl", timeout=100
        )
        result.assert_outcomes(passed=1, failed=3)
        text = result.stdout.str()
        assert "TooSlow: slow takes" in text
        assert "sets an absolute bound, which says more of the machine than of the code" in text
        assert "Tripped: latency_ms_p95 of f is" in text
        assert "time of a over time of b" in text
        assert text.count(" to ") >= 4
        assert '"measured": [{"name": "test_equal"' in (pytester.path / "r.jsonl").read_text()
