"""COS as processes: started, stopped, killed, followed and shared, through its command line."""

from __future__ import annotations

import json
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import psutil
import pytest

PATIENCE_SECONDS = 60.0


class Running:
    """A command that runs: what it says is kept, and can be waited for."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.said: list[str] = []
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        for line in self.process.stdout:
            self._lines.put(line.rstrip("\n"))
        self._lines.put(None)

    def wait_for(self, text: str) -> str:
        """Give the next line that holds a text."""
        while True:
            line = self._lines.get(timeout=PATIENCE_SECONDS)
            assert line is not None, f"it ended without saying {text!r}: {self.said}"
            self.said.append(line)
            if text in line:
                return line

    def end(self, number: int | None = None) -> int:
        """Send a signal if one is given, wait, and give the exit code."""
        if number is not None:
            self.process.send_signal(number)
        code = self.process.wait(PATIENCE_SECONDS)
        self._reader.join(PATIENCE_SECONDS)
        while (line := self._lines.get_nowait()) is not None:
            self.said.append(line)
        self.process.stdout.close()
        assert not any("Traceback" in line for line in self.said), "\n".join(self.said)
        return code


class Commands:
    """`cos` with one data folder."""

    def __init__(self, folder: Path) -> None:
        ours = ("COS_", "PYTHONDONTWRITEBYTECODE")  # the latter would have each process compile COS anew
        self.folder = folder
        self.run_file = folder / "run.json"
        self.environment = {n: v for n, v in os.environ.items() if not n.startswith(ours)}
        self.environment |= {"COS_DATA_DIR": str(folder), "COS_FSYNC": "false", "COS_PORT": "0"}
        self.started: list[Running] = []

    def __call__(self, *arguments: str, code: int = 0) -> str:
        """Run a command to its end; gives what it printed."""
        command = [sys.executable, "-m", "cos.cli.main", *arguments]
        ran = subprocess.run(
            command, env=self.environment, capture_output=True, text=True, timeout=120, check=False
        )
        assert ran.returncode == code, ran.stderr
        assert "Traceback" not in ran.stderr
        return ran.stdout

    def start(self, *arguments: str, **settings: str) -> Running:
        """Start a command and leave it running."""
        running = Running(
            subprocess.Popen(
                [sys.executable, "-m", "cos.cli.main", *arguments],
                env=self.environment | settings,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        )
        self.started.append(running)
        return running

    def up(self, **settings: str) -> tuple[Running, str]:
        """Start COS in the foreground; gives it and its address."""
        running = self.start("up", **settings)
        return running, running.wait_for("COS is ready at ").split()[4]

    def state(self) -> dict:
        """Read what COS says of itself in its folder, without measuring anything."""
        return json.loads(self.run_file.read_bytes())

    def status(self) -> dict:
        """Ask how it is; what is not running is an answer too."""
        command = [sys.executable, "-m", "cos.cli.main", "status", "--json"]
        ran = subprocess.run(command, env=self.environment, capture_output=True, timeout=60, check=False)
        return json.loads(ran.stdout)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One data folder for all: its cluster is set up once, by whichever test comes first."""
    return tmp_path_factory.mktemp("up") / "data"


@pytest.fixture
def cos(folder: Path) -> Iterator[Commands]:
    commands = Commands(folder)
    yield commands
    for running in commands.started:
        if running.process.poll() is None:
            running.process.kill()
            running.process.wait()
            running.process.stdout.close()
    if not commands.run_file.exists():
        return
    subprocess.run(
        [sys.executable, "-m", "cos.cli.main", "down"],
        env=commands.environment,
        capture_output=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def until() -> Callable[[Callable[[], object]], object]:
    """Poll until something is true; gives it."""

    def poll(check: Callable[[], object], seconds: float = PATIENCE_SECONDS) -> object:
        deadline = time.monotonic() + seconds
        while not (found := check()):
            assert time.monotonic() < deadline, "it never came true"
            time.sleep(0.02)
        return found

    return poll


def gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def lines(count: int) -> bytes:
    return b"".join(b'{"type": "line", "data": %d}\n' % n for n in range(count))


class TestLife:
    """From start to stop."""

    def test_in_the_background(self, cos, until) -> None:
        """`up --detach` returns when it answers, a child that dies comes back, and `down` leaves nothing running."""
        said = cos("up", "--detach")
        for part in (
            "Data ",
            "Postgres ",
            "Redis ",
            "Database ",
            "Relay ",
            "COS is ready at http://127.0.0.1:",
        ):
            assert part in said
        state = cos.status()
        url = state["api"]["url"]
        assert (state["health"], state["data_dir"]) == ("ok", str(cos.folder))
        assert httpx.get(f"{url}/ready", trust_env=False).json()["status"] == "ok"

        for part in ("redis", "postgres"):
            os.kill(state[part]["pid"], signal.SIGKILL)

        def is_well():
            found = cos.state()
            servers = [found[part] for part in ("redis", "postgres")]
            back = all((one["state"], one["restarts"]) == ("running", 1) for one in servers)
            return back and httpx.get(f"{url}/ready", trust_env=False).json()["status"] == "ok" and found

        state = until(is_well)
        assert state["api"]["url"] == url
        assert httpx.post(f"{url}/events", json={"type": "after"}, trust_env=False).status_code == 201
        self.check_output_into_head(cos, url)

        assert str(state["api"]["pid"]) in cos("down")
        assert all(gone(state[part]["pid"]) for part in ("api", "postgres", "redis"))
        assert not cos.run_file.exists()

    def check_output_into_head(self, cos, url) -> None:
        """Who reads may go away: no traceback, whatever was still to be printed."""
        body = json.dumps([{"type": "much", "data": "x" * 500} for _ in range(1000)])
        httpx.post(
            f"{url}/events", content=body, headers={"content-type": "application/json"}, trust_env=False
        )
        for arguments in (
            ("events", "-n", "1000"),
            ("events", "-n", "1000", "--json"),
            ("tail", "--since", "0-0"),
        ):
            command = [sys.executable, "-m", "cos.cli.main", *arguments]
            with subprocess.Popen(
                command, env=cos.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
            ) as process:
                process.stdout.read(10)
                process.stdout.close()
                said = process.stderr.read()
                process.wait(PATIENCE_SECONDS)
            assert said == b""
            assert process.returncode in {0, 1}

    def test_a_signal_finishes_what_is_in_flight(self, cos) -> None:
        """A request whose body still comes gets its answer; one that stalls is given up on and told so."""
        running, url = cos.up(COS_STOP_TIMEOUT_SECONDS="2")
        address = (urlsplit(url).hostname, urlsplit(url).port)
        body = lines(50)
        head = f"POST /events HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(body)}\r\n"
        begin = f"{head}Content-Type: application/x-ndjson\r\n\r\n".encode() + body[:200]
        with socket.create_connection(address) as slow, socket.create_connection(address) as stalled:
            for client in (slow, stalled):
                client.settimeout(PATIENCE_SECONDS)
                client.sendall(begin)
            assert httpx.get(f"{url}/health", trust_env=False).status_code == 200
            running.process.send_signal(signal.SIGTERM)
            running.wait_for("Stopping")
            slow.sendall(body[200:])
            answer = slow.makefile("rb").read()
            refusal = stalled.makefile("rb").read()
        assert answer.startswith(b"HTTP/1.1 200")
        assert b'"recorded":50' in answer
        assert refusal.startswith(b"HTTP/1.1 503")
        assert b"COS has stopped before this request was done" in refusal
        assert running.end() == 0
        assert not cos.run_file.exists()

    def test_a_paused_postgres_does_not_keep_it_from_stopping(self, cos) -> None:
        """What waits for it is done, as it would have been; all of it is continued, backends too."""
        running, url = cos.up()
        postgres = psutil.Process(cos.status()["postgres"]["pid"])
        family = [postgres, *postgres.children(recursive=True)]
        for one in family:
            one.suspend()
        body = b'{"type": "late"}'
        with socket.create_connection((urlsplit(url).hostname, urlsplit(url).port)) as client:
            client.settimeout(PATIENCE_SECONDS)
            head = f"POST /events HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(body)}\r\n"
            client.sendall(f"{head}Content-Type: application/json\r\n\r\n".encode() + body)
            assert httpx.get(f"{url}/health", trust_env=False).status_code == 200
            running.process.send_signal(signal.SIGTERM)
            assert client.makefile("rb").read().startswith(b"HTTP/1.1 201")
        assert running.end() == 0
        assert all(gone(one.pid) for one in family)


class TestFollowing:
    """`cos tail`."""

    def test_tail_across_a_restart(self, cos) -> None:
        """From a position and from now: each event once and in order, though COS was stopped and came back."""
        running, first_url = cos.up()

        def record(url: str, name: str) -> dict:
            answer = httpx.post(f"{url}/events", json={"type": name, "module": "tail"}, trust_env=False)
            return answer.json()

        start = record(first_url, "zero")["position"]
        record(first_url, "one")
        since = cos.start("tail", "--module", "tail", "--since", start, "--json")
        since.wait_for('"one"')
        from_now = cos.start("tail", "--module", "tail", "--json")
        # What it begins after is read when it connects: events until then are not its own.
        for n in range(1000):
            record(first_url, f"try.{n}")
            if not from_now._lines.empty():
                break
        last_try = f"try.{n}"
        from_now.wait_for(f'"{last_try}"')
        assert running.end(signal.SIGINT) == 0
        _, second_url = cos.up()
        for name in ("two", "three"):
            record(second_url, name)
        seen = []
        for follower in (since, from_now):
            follower.wait_for('"three"')
            assert follower.end(signal.SIGINT) == 130
            seen.append([json.loads(line)["type"] for line in follower.said if line.startswith("{")])
        tries = [f"try.{n}" for n in range(n + 1)]
        assert seen[0] == ["one", *tries, "two", "three"]
        assert seen[1] == [*tries[-(len(seen[1]) - 2) :], "two", "three"]


class TestSeveralProcesses:
    """`cos serve` and `cos worker` share the servers of `cos up`, or given ones."""

    def test_serve_and_worker_beside_up(self, cos, until) -> None:
        """An event of the second API is announced by the first process at a ring: its relay polls once a minute."""
        running, first_url = cos.up(COS_RELAY_POLL_SECONDS="60")
        second = cos.start("serve")
        second_url = second.wait_for("The API is ready at ").split()[-1]
        assert second_url != first_url
        worker = cos.start("worker")
        worker.wait_for("The worker is ready")

        announced = []
        for n in range(3):
            logged = httpx.post(
                f"{second_url}/cc/debug/log",
                json={"event_type": "rung", "payload": n},
                trust_env=False,
                timeout=30,
            )
            announced.append(logged.json()["redis_validation"]["publish_success"])
        assert announced == [True] * 3
        kinds = httpx.get(f"{first_url}/events", params={"type": "rung"}, trust_env=False).json()["events"]
        assert [event["data"] for event in kinds] == [0, 1, 2]
        for process in (worker, second, running):
            assert process.end(signal.SIGTERM) == 0

    def test_given_servers_are_left_alone(self, cos, servers, clean) -> None:
        """`serve` and `worker` over URLs announce what is recorded; so does `up`, which stops none of them."""
        given = {"COS_DATABASE_URL": servers.postgres.url, "COS_REDIS_URL": servers.redis.url}
        before = (servers.postgres.restarts, servers.redis.restarts)
        worker = cos.start("worker", **given)
        worker.wait_for("The worker is ready")
        api = cos.start("serve", **given)
        url = api.wait_for("The API is ready at ").split()[-1]
        logged = httpx.post(f"{url}/cc/debug/log", json={"event_type": "given"}, trust_env=False, timeout=30)
        assert logged.json()["redis_validation"]["publish_success"] is True
        assert [worker.end(signal.SIGTERM), api.end(signal.SIGINT)] == [0, 0]

        running, url = cos.up(**given)
        assert len(httpx.get(f"{url}/events", trust_env=False).json()["events"]) == 1
        assert {cos.state()[part]["state"] for part in ("postgres", "redis")} == {"external"}
        assert httpx.get(f"{url}/ready", trust_env=False).json()["status"] == "ok"
        assert running.end(signal.SIGTERM) == 0
        assert (servers.postgres.state, servers.redis.state) == ("running", "running")
        assert (servers.postgres.restarts, servers.redis.restarts) == before
