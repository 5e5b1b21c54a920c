"""The launcher: the program is itself, alone, clean, and ends with its owner."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time

import psutil
import pytest

from cos.infra.guard import NAMESPACE_REFUSED, NOT_REACHABLE, NOT_STARTED
from cos.infra.launch import CHILD_ENVIRONMENT, GUARD, guarded

# Prints how the kernel sees this process: ignored, caught and blocked signals, rights, umask.
SHOW_STATUS = ["/bin/cat", "/proc/self/status"]
STUBBORN = ["/bin/sh", "-c", 'trap "" INT TERM; echo ready; while :; do sleep 0.05; done']


def run(program, *options, **popen):
    return subprocess.run(
        guarded(program, stop_signal=signal.SIGTERM, options=options),
        env=CHILD_ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        **popen,
    )


def status_fields(text):
    return {line.split(":")[0]: line.split(":")[1].strip() for line in text.splitlines()}


class TestExec:
    def test_program_is_the_same_process(self):
        """Leaves nothing between owner and server: the id that was spawned is the server's."""
        with subprocess.Popen(
            guarded(["/bin/sh", "-c", "echo $$"], stop_signal=signal.SIGTERM), stdout=subprocess.PIPE
        ) as process:
            assert int(process.stdout.read()) == process.pid

    def test_program_starts_with_a_clean_table(self):
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2, signal.SIGTERM})
        try:
            fields = status_fields(run(SHOW_STATUS).stdout)
        finally:
            signal.signal(signal.SIGUSR1, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGUSR2, signal.SIGTERM})

        # Signals 32 and 33 are the C library's own: it lets nobody set them, and make hands them on ignored.
        own = 0b11 << 31
        assert {int(fields[name], 16) & ~own for name in ("SigIgn", "SigCgt", "SigBlk")} == {0}
        assert fields["Umask"] == "0077"

    def test_program_has_a_session_of_its_own(self):
        """A Ctrl-C in the owner's terminal goes to the owner's group only."""
        with subprocess.Popen(
            guarded(STUBBORN, stop_signal=signal.SIGTERM), stdout=subprocess.PIPE
        ) as process:
            process.stdout.readline()
            assert os.getsid(process.pid) == os.getpgid(process.pid) == process.pid
            process.kill()

    def test_program_works_in_the_root_folder_with_the_given_environment_only(self):
        out = run(["/bin/sh", "-c", "pwd; echo $LC_ALL; echo $HOME"]).stdout

        assert out == "/\nC\n\n"

    def test_owner_that_is_already_gone_starts_nothing(self, tmp_path):
        command = guarded(["/bin/touch", str(tmp_path / "started")], stop_signal=signal.SIGTERM)
        command = [f"parent={os.getppid()}" if part.startswith("parent=") else part for part in command]

        code = subprocess.run(command, check=False).returncode

        assert code == NOT_STARTED
        assert not list(tmp_path.iterdir())

    def test_missing_program_is_named(self):
        done = run(["/no/such/program"])

        assert done.returncode == NOT_STARTED
        assert done.stderr == "error: /no/such/program cannot be started: No such file or directory\n"


class TestPipe:
    @pytest.fixture
    def watched(self):
        """Start a program under a watching guard; gives the guard, our socket and the program's pid."""
        started = []

        def start(program, grace_seconds=5.0):
            ours, theirs = socket.socketpair()
            options = (f"pipe={theirs.fileno()}", f"grace={grace_seconds}")
            guard = subprocess.Popen(
                guarded(program, stop_signal=signal.SIGTERM, options=options),
                pass_fds=(theirs.fileno(),),
                stdout=subprocess.PIPE,
            )
            theirs.close()
            started.append((guard, ours))
            return guard, ours, int(ours.recv(64))

        yield start
        for guard, ours in started:
            ours.close()
            guard.wait(30)
            guard.stdout.close()

    @pytest.mark.parametrize("how", ["close", "SIGTERM", "SIGINT", "SIGHUP"])
    def test_program_is_stopped_with_its_owner_or_its_guard(self, watched, how):
        guard, ours, program = watched(["/bin/sleep", "600"])

        if how == "close":
            ours.close()
        else:
            guard.send_signal(getattr(signal, how))

        assert guard.wait(30) == -signal.SIGTERM
        assert not psutil.pid_exists(program)

    def test_owner_that_dies_before_it_has_read_the_id_ends_the_program_too(self):
        """An end with unread words is a reset, not an end of file: the guard once fell over it."""
        ours, theirs = socket.socketpair()
        options = (f"pipe={theirs.fileno()}", "grace=5")
        with subprocess.Popen(
            guarded(["/bin/sleep", "600"], stop_signal=signal.SIGTERM, options=options),
            pass_fds=(theirs.fileno(),),
        ) as guard:
            theirs.close()
            program = int(ours.recv(64, socket.MSG_PEEK))
            ours.close()

            assert guard.wait(30) == -signal.SIGTERM
        assert not psutil.pid_exists(program)

    def test_stubborn_program_is_killed_after_the_grace(self, watched):
        guard, ours, program = watched(STUBBORN, grace_seconds=0.1)
        guard.stdout.readline()

        ours.close()

        assert guard.wait(30) == -signal.SIGKILL
        assert not psutil.pid_exists(program)

    @pytest.mark.parametrize(
        ("script", "code"), [("exit 0", 0), ("exit 3", 3), ("kill -QUIT $$", -signal.SIGQUIT)]
    )
    def test_guard_ends_as_the_program_did(self, watched, script, code):
        guard, _, _ = watched(["/bin/sh", "-c", script])

        assert guard.wait(30) == code

    def test_program_does_not_hold_the_socket(self, watched):
        """Else a server could keep its own guard, or its owner, from seeing an end."""
        _, _, program = watched(["/bin/sleep", "600"])
        deadline = time.monotonic() + 15
        while psutil.Process(program).name() != "sleep":
            assert time.monotonic() < deadline

        assert not psutil.Process(program).net_connections(kind="unix")

    def test_missing_program_ends_the_guard(self, watched):
        guard, _, _ = watched(["/no/such/program"])

        assert guard.wait(30) == NOT_STARTED


class TestIdentity:
    def test_namespace_takes_every_right_and_keeps_the_files(self, tmp_path):
        """Inside, the program is another user without any capability; what it writes stays ours."""
        target = tmp_path / "written"
        done = run(
            ["/bin/sh", "-c", f"id -u; cat /proc/self/status; touch {target}"],
            f"namespace=4321:{os.getegid() or 4321}",
        )
        if done.returncode == NAMESPACE_REFUSED:
            assert done.stdout == ""
            return

        assert done.stdout.startswith("4321\n")
        fields = status_fields(done.stdout.split("\n", 1)[1])
        assert {fields[name] for name in ("CapEff", "CapPrm", "CapInh", "CapAmb")} == {"0" * 16}
        assert target.stat().st_uid == os.geteuid()

    def test_account_is_changed_for_good_by_root_only(self):
        done = run(["/bin/cat", "/proc/self/status"], "account=4321:4322")
        if os.geteuid() != 0:
            assert done.returncode == 1
            return

        fields = status_fields(done.stdout)
        assert fields["Uid"].split() == ["4321"] * 4
        assert fields["Gid"].split() == ["4322"] * 4
        assert fields["Groups"] == ""

    def test_check_names_the_first_path_that_cannot_be_entered(self, tmp_path):
        paths = ["/", str(tmp_path), str(tmp_path / "missing"), "/also/missing"]
        done = run(paths, "check=1")

        assert (done.returncode, done.stdout) == (NOT_REACHABLE, str(tmp_path / "missing"))
        assert run(paths[:2], "check=1").returncode == 0

    def test_guard_needs_no_site_and_no_environment(self):
        done = subprocess.run(
            [sys.executable, "-I", "-S", str(GUARD), "check=1", "--"],
            env={},
            check=False,
            capture_output=True,
        )

        assert (done.returncode, done.stderr) == (0, b"")
