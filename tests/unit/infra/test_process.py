"""Supervision: a server is kept running, and stopped for certain."""

from __future__ import annotations

import asyncio
import os
import signal
from datetime import timedelta

import psutil
import pytest
from structlog.testing import capture_logs

from cos.common import clock
from cos.errors import DiskFull, FolderNotWritable, ServerFailed
from cos.infra.process import ServerProcess


@pytest.fixture
async def make(tmp_path):
    """Build a supervised shell script that is ready once it has made the file `up`."""
    made = []

    def build(script="touch up; exec sleep 600", **changes):
        async def ready():
            return (tmp_path / "up").exists()

        async def prepare():
            (tmp_path / "up").unlink(missing_ok=True)

        settings = {
            "name": "Sleeper",
            "argv": lambda: ["/bin/sh", "-c", f"cd {tmp_path}; {script}"],
            "log": tmp_path / "log",
            "ready": ready,
            "prepare": prepare,
            "stop_signal": signal.SIGTERM,
            "start_timeout_seconds": 20.0,
            "stop_timeout_seconds": 5.0,
        }
        process = ServerProcess(**(settings | changes))
        made.append(process)
        return process

    yield build
    for process in made:
        await process.stop()


class TestStart:
    @pytest.mark.parametrize("guard", ["exec", "pipe"])
    async def test_from_stopped_to_running_and_back(self, make, guard, gone, eventually):
        process = make(guard=guard)
        assert (process.state, process.pid, process.started_at) == ("stopped", None, None)

        starting = asyncio.create_task(process.start())
        await asyncio.sleep(0)
        assert process.state == "starting"
        await starting

        pid = process.pid
        assert process.state == "running"
        assert (
            psutil.Process(pid).cmdline()[-1].endswith("sleep 600") or psutil.Process(pid).name() == "sleep"
        )
        assert abs(clock.now() - process.started_at) < timedelta(seconds=60)
        assert (process.restarts, process.last_exit) == (0, None)

        await process.stop()
        assert (process.state, process.pid) == ("stopped", None)
        assert process.last_exit == "killed by SIGTERM"
        await eventually(lambda: gone(pid))

    async def test_second_start_and_second_stop_do_nothing(self, make):
        process = make()
        await process.start()
        pid = process.pid

        await process.start()
        assert process.pid == pid
        await process.stop()
        await process.stop()
        assert process.state == "stopped"

    async def test_can_be_started_again_after_a_stop(self, make):
        process = make()
        for _ in range(2):
            await process.start()
            await process.stop()

        assert process.restarts == 0

    @pytest.mark.parametrize("guard", ["exec", "pipe"])
    async def test_early_death_is_told_with_the_line_that_says_why(self, make, guard, tmp_path):
        process = make("echo noise; echo FATAL: no such thing.; echo more; exit 7", guard=guard)

        with pytest.raises(ServerFailed) as caught:
            await process.start()

        assert caught.value.detail == (
            f"Sleeper did not start: FATAL: no such thing; its log is {tmp_path / 'log'}."
        )
        assert (process.state, process.pid) == ("failed", None)

    async def test_silent_death_is_told_by_its_exit(self, make):
        with pytest.raises(ServerFailed, match="did not start: exit code 7;"):
            await make("exit 7").start()

    async def test_older_lines_of_the_log_are_not_quoted(self, make, tmp_path):
        (tmp_path / "log").write_text("FATAL: of yesterday\n")

        with pytest.raises(ServerFailed, match="exit code 1"):
            await make("exit 1").start()

    async def test_full_disk_is_its_own_error(self, make):
        with pytest.raises(DiskFull, match="make room"):
            await make("echo 'FATAL: could not write: No space left on device'; exit 1").start()

    async def test_missing_program_is_named(self, make):
        with pytest.raises(ServerFailed, match="/no/such cannot be started: No such file"):
            await make(argv=lambda: ["/no/such"]).start()

    async def test_server_that_never_answers_is_ended(self, make, gone, eventually, tmp_path):
        process = make("echo $$ > pid; exec sleep 600", start_timeout_seconds=0.3)

        with pytest.raises(ServerFailed, match=r"did not answer within 0\.3 s"):
            await process.start()

        assert process.state == "failed"
        await eventually(lambda: gone(int((tmp_path / "pid").read_text())))

    async def test_error_of_the_preparation_is_passed_on(self, make):
        async def prepare():
            raise FolderNotWritable("no")

        with pytest.raises(FolderNotWritable, match="no"):
            await make(prepare=prepare).start()

    async def test_unforeseen_error_becomes_a_sentence(self, make):
        async def prepare():
            raise PermissionError(13, "Permission denied", "/x")

        with pytest.raises(
            ServerFailed, match=r"did not start: \[Errno 13\] Permission denied: '/x'; its log"
        ):
            await make(prepare=prepare).start()

    async def test_cancelled_start_leaves_nothing(self, make, gone, eventually, tmp_path):
        process = make("echo $$ > pid; exec sleep 600")
        starting = asyncio.create_task(process.start())
        await eventually(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text())

        starting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await starting

        assert (process.state, process.pid) == ("stopped", None)
        assert gone(int((tmp_path / "pid").read_text()))

    @pytest.mark.parametrize("guard", ["exec", "pipe"])
    async def test_start_cancelled_while_its_guard_loads_leaves_nothing(self, make, guard, eventually):
        before = set(psutil.Process().children())
        process = make(guard=guard)
        starting = asyncio.create_task(process.start())
        await eventually(lambda: set(psutil.Process().children()) - before)

        starting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await starting

        assert process.state == "stopped"
        await eventually(lambda: not set(psutil.Process().children()) - before)

    async def test_stop_ends_a_start_that_is_under_way(self, make, eventually, tmp_path):
        process = make("touch begun; exec sleep 600")
        starting = asyncio.create_task(process.start())
        await eventually((tmp_path / "begun").exists)

        await process.stop()

        with pytest.raises(ServerFailed, match="was stopped while it started"):
            await starting
        assert process.state == "stopped"

    async def test_repaired_cause_gets_one_more_try(self, make, tmp_path):
        logs = []

        async def repair(log):
            logs.append(log)
            (tmp_path / "cause").unlink()
            return True

        (tmp_path / "cause").touch()
        process = make("test -e cause && echo broken && exit 1; touch up; exec sleep 600", repair=repair)

        await process.start()

        assert (process.state, logs) == ("running", ["broken\n"])

    async def test_cause_that_comes_back_is_not_repaired_for_ever(self, make):
        tries = []

        async def repair(log):
            tries.append(log)
            return True

        with pytest.raises(ServerFailed):
            await make("exit 1", repair=repair).start()
        assert len(tries) == 1


class TestSupervision:
    @pytest.mark.parametrize("guard", ["exec", "pipe"])
    async def test_killed_server_is_restarted(self, make, guard, eventually):
        process = make(guard=guard)
        await process.start()
        pid, started_at = process.pid, process.started_at

        os.kill(pid, signal.SIGKILL)
        await eventually(lambda: process.state == "restarting")
        assert process.last_exit == "killed by SIGKILL"
        await eventually(lambda: process.state == "running")

        assert process.pid not in {None, pid}
        assert process.restarts == 1
        assert process.started_at > started_at

    async def test_pauses_double_up_to_ten_seconds_and_it_never_gives_up(
        self, make, eventually, tmp_path, monkeypatch
    ):
        slept = []
        sleep = asyncio.sleep

        async def record(seconds):
            if seconds >= 0.1:
                slept.append(seconds)
                seconds = 0
            await sleep(seconds)

        monkeypatch.setattr("cos.infra.process.asyncio.sleep", record)
        process = make("test -e broken && exit 1; touch up; exec sleep 600")
        await process.start()
        (tmp_path / "broken").touch()
        os.kill(process.pid, signal.SIGKILL)
        await eventually(lambda: len(slept) >= 10)
        assert process.state == "restarting"
        assert process.last_exit.startswith("Sleeper did not start: exit code 1")
        (tmp_path / "broken").unlink()
        await eventually(lambda: process.state == "running")

        assert slept[:10] == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10, 10, 10])

    @pytest.mark.parametrize(("ran_seconds", "pause_seconds"), [(59, 0.2), (61, 0.1)])
    async def test_server_that_ran_a_minute_gets_a_short_pause_again(
        self, make, eventually, ran_seconds, pause_seconds
    ):
        class Moved(clock.SystemClock):
            ahead_seconds = 0.0

            def monotonic(self):
                return super().monotonic() + self.ahead_seconds

        moved = Moved()
        process = make()
        with clock.use_clock(moved), capture_logs() as logs:
            await process.start()
            os.kill(process.pid, signal.SIGKILL)
            await eventually(lambda: process.restarts == 1 and process.state == "running")
            moved.ahead_seconds = ran_seconds
            os.kill(process.pid, signal.SIGKILL)
            await eventually(lambda: process.restarts == 2)

        assert [entry["pause_seconds"] for entry in logs] == [0.1, pause_seconds]

    async def test_stop_during_a_pause_is_prompt_and_final(self, make, eventually, tmp_path):
        process = make("test -e broken && exit 1; touch up; exec sleep 600")
        await process.start()
        (tmp_path / "broken").touch()
        os.kill(process.pid, signal.SIGKILL)
        await eventually(lambda: process.restarts >= 2)

        await process.stop()

        assert (process.state, process.pid) == ("stopped", None)


class TestStop:
    @pytest.mark.parametrize("guard", ["exec", "pipe"])
    async def test_request_that_is_ignored_is_followed_by_a_harder_one(self, make, guard):
        process = make(
            'trap "" TERM; trap "exit 4" INT; touch up; while :; do sleep 0.02; done',
            guard=guard,
            stop_timeout_seconds=0.2,
            quit_signal=signal.SIGINT,
        )
        await process.start()

        with capture_logs() as logs:
            await process.stop()

        assert process.last_exit == "exit code 4"
        assert [(entry["event"], entry["signal"]) for entry in logs] == [("server_slow_to_stop", "SIGTERM")]

    async def test_server_that_ignores_everything_is_killed(self, make):
        process = make('trap "" TERM; touch up; while :; do sleep 0.02; done', stop_timeout_seconds=0.1)
        await process.start()

        await process.stop()

        assert process.last_exit == "killed by SIGKILL"

    async def test_paused_server_is_woken_to_end_itself(self, make):
        process = make('trap "exit 4" TERM; touch up; while :; do sleep 0.02; done')
        await process.start()
        os.kill(process.pid, signal.SIGSTOP)

        await process.stop()

        assert process.last_exit == "exit code 4"

    async def test_server_that_has_just_died_is_no_error(self, make):
        process = make()
        await process.start()
        os.kill(process.pid, signal.SIGKILL)

        await process.stop()

        assert process.last_exit == "killed by SIGKILL"
