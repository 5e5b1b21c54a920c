"""The commands that start and look at COS: bad starts in one sentence, and what is shown of one that runs."""

from __future__ import annotations

import json
import socket
import subprocess
from urllib.parse import urlsplit

import pytest

from cos.infra.binaries import find_redis_server

STARTS = (("up",), ("serve",), ("worker",))


class TestBadStarts:
    """One sentence on standard error and an exit code of its own; nothing is left running."""

    def test_the_port_is_taken(self, cos) -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = taken.getsockname()[1]
            ran = cos("up", "--port", str(port))
        assert ran.code == 12
        assert f"Port {port}" in ran.sentence
        assert "--port" in ran.sentence

    @pytest.mark.parametrize("command", ["up", "status", "down", "log x", "logs", "worker", "doctor --json"])
    def test_the_folder_cannot_be_written(self, cos, monkeypatch, tmp_path, command) -> None:
        """A file stands where the folder should be."""
        (tmp_path / "file").write_text("")
        monkeypatch.setenv("COS_DATA_DIR", str(tmp_path / "file" / "data"))
        ran = cos(*command.split())
        if command.startswith("doctor"):
            assert ran.code == 1
            assert "is a file, not a folder" in ran.out
            return
        assert ran.code == 13
        assert "is a file, not a folder" in ran.sentence
        assert "COS_DATA_DIR" in ran.sentence

    @pytest.mark.parametrize(
        ("name", "value", "allowed"),
        [
            ("COS_PORT", "eighty", "integer"),
            ("COS_PORT", "70000", "65535"),
            ("COS_LOG_LEVEL", "loud", "'debug', 'info', 'warning' or 'error'"),
            ("COS_LOG_FORMAT", "xml", "'auto', 'text' or 'json'"),
            ("COS_FSYNC", "perhaps", "boolean"),
            ("COS_RELAY_BATCH", "0", "greater than or equal to 1"),
            ("COS_RECORD_TIMEOUT_SECONDS", "-1", "greater than 0"),
            ("COS_REDIS_NAMESPACE", "a b", "pattern"),
            ("COS_DATABASE_URL", "mysql://user:secret@host/db", "postgresql://"),
            ("COS_REDIS_URL", "http://:secret@host", "redis://"),
        ],
    )
    @pytest.mark.parametrize("command", ["up", "status"])
    def test_a_broken_setting(self, cos, monkeypatch, command, name, value, allowed) -> None:
        """It is named, with its value unless that is secret, and with what is allowed."""
        monkeypatch.setenv(name, value)
        ran = cos(command)
        assert ran.code == 16
        assert name in ran.sentence
        assert allowed in ran.sentence
        assert "secret" not in ran.err
        assert (value in ran.err) != name.endswith("_URL")

    @pytest.mark.parametrize("command", ["up", "serve", "worker"])
    def test_servers_that_do_not_answer(self, cos, monkeypatch, servers, command) -> None:
        """17 for Postgres, 18 for Redis; the server is named without its password."""
        monkeypatch.setenv("COS_PORT", "0")
        monkeypatch.setenv("COS_DATABASE_URL", "postgresql://me:secret@127.0.0.1:1/db")
        monkeypatch.setenv("COS_REDIS_URL", servers.redis.url)
        ran = cos(command)
        assert (ran.code, "127.0.0.1:1" in ran.sentence, "secret" in ran.err) == (17, True, False)
        monkeypatch.setenv("COS_DATABASE_URL", servers.postgres.url)
        monkeypatch.setenv("COS_REDIS_URL", "redis://:secret@127.0.0.1:1/0")
        ran = cos(command)
        assert (ran.code, "127.0.0.1:1" in ran.sentence, "secret" in ran.err) == (18, True, False)

    def test_a_wrong_user_or_password(self, cos, monkeypatch, servers, tmp_path, eventually_sync) -> None:
        """19 for both servers, with the setting to correct."""
        monkeypatch.setenv("COS_PORT", "0")
        query = urlsplit(servers.postgres.url).query
        monkeypatch.setenv("COS_DATABASE_URL", f"postgresql://nobody:secret@/cos?{query}")
        monkeypatch.setenv("COS_REDIS_URL", servers.redis.url)
        ran = cos("up")
        assert (ran.code, "COS_DATABASE_URL" in ran.sentence, "secret" in ran.err) == (19, True, False)

        socket_path = tmp_path / "r"
        options = ["--port", "0", "--unixsocket", str(socket_path), "--requirepass", "right", "--save", ""]
        with subprocess.Popen([find_redis_server(), *options], stdout=subprocess.DEVNULL) as redis:
            try:
                eventually_sync(socket_path.exists)
                monkeypatch.setenv("COS_DATABASE_URL", servers.postgres.url)
                monkeypatch.setenv("COS_REDIS_URL", f"unix://:secret@{socket_path}")
                ran = cos("up")
            finally:
                redis.kill()
        assert (ran.code, "COS_REDIS_URL" in ran.sentence, "secret" in ran.err) == (19, True, False)

    @pytest.mark.parametrize("detach", [(), ("--detach",)])
    def test_data_of_another_major_version(self, cos, alone, detach) -> None:
        """15 names both versions; the data is not touched. The same through the background process."""
        (alone / "postgres").mkdir(parents=True)
        (alone / "postgres" / "PG_VERSION").write_text("12\n")
        ran = cos("up", "--port", "0", *detach)
        assert ran.code == 15
        assert "12" in ran.sentence
        assert [path.name for path in (alone / "postgres").iterdir()] == ["PG_VERSION"]

    @pytest.mark.parametrize("command", ["serve", "worker"])
    def test_nothing_to_work_over(self, cos, command) -> None:
        """`cos serve` and `cos worker` alone say which setting or which command is missing."""
        ran = cos(command)
        assert ran.code == 16
        assert "COS_DATABASE_URL" in ran.sentence
        assert "cos up" in ran.sentence

    @pytest.mark.parametrize("detach", [(), ("--detach",)])
    def test_a_second_cos_in_the_folder(self, living, detach) -> None:
        """11 names who has it, since when and where."""
        state = json.loads(living("status", "--json").out)
        ran = living("up", "--port", "0", *detach)
        assert ran.code == 11
        assert f"process {state['api']['pid']}" in ran.sentence
        assert state["since"] in ran.sentence
        assert state["api"]["url"] in ran.sentence


class TestStopped:
    """A folder that nothing runs in."""

    def test_status_and_down(self, cos, alone) -> None:
        """Both exit with 10; the JSON has every member, the servers stopped."""
        ran = cos("status", "--json")
        found = json.loads(ran.out)
        assert (ran.code, found["health"], found["data_dir"]) == (10, "down", str(alone))
        assert found["causes"] == ["COS is not running here; start it with: cos up"]
        assert {found[name]["state"] for name in ("postgres", "redis", "relay")} == {"stopped"}
        assert (found["api"], found["records"], found["streams"]) == ({"url": None, "pid": None}, None, {})
        plain = cos("status")
        assert (plain.code, "not running" in plain.sentence) == (10, True)
        assert cos("down").code == 10

    def test_logs(self, cos) -> None:
        assert cos("logs").code == 4
        assert cos("logs", "nginx").code == 3

    def test_doctor(self, cos) -> None:
        """All well: exit code 0, each check with what was found."""
        ran = cos("doctor", "--port", "0", "--json")
        assert ran.code == 0, ran.out
        assert {"Python", "Postgres binary", "Redis binary", "data folder", "disk", "COS", "port 0"} == {
            one["check"] for one in json.loads(ran.out)
        }

    def test_doctor_finds_what_is_wrong(self, cos, monkeypatch) -> None:
        """A server that does not answer and a port that is taken: exit code 1, with what to do."""
        monkeypatch.setenv("COS_REDIS_URL", "redis://127.0.0.1:1")
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = str(taken.getsockname()[1])
            ran = cos("doctor", "--port", port, "--json")
        wrong = {one["check"]: one["advice"] for one in json.loads(ran.out) if not one["ok"]}
        assert ran.code == 1
        assert set(wrong) == {f"port {port}", "given redis"}
        assert all(wrong.values())


class TestRunning:
    """A COS that runs."""

    def test_status(self, living, running) -> None:
        """The promised members, measured; plain it is a table with the same."""
        living("log", "status.seen", "-m", "status")
        ran = living("status", "--json")
        found = json.loads(ran.out)
        assert ran.code == 0
        assert found["data_dir"] == str(running)
        assert (found["health"], found["causes"]) == ("ok", [])
        assert found["api"]["url"].startswith("http://127.0.0.1:")
        assert found["since"]
        for name in ("postgres", "redis"):
            assert found[name]["state"] == "running"
            assert found[name]["pid"] != found["api"]["pid"]
            assert found[name]["url"]
        assert found["relay"]["lag_events"] >= 0
        assert found["relay"]["lag_seconds"] >= 0
        assert found["records"] >= 1
        stream = found["streams"]["status"]
        assert stream["key"] == f"mem0.stream.status.{stream['generation']}"
        assert set(stream) == {"key", "generation", "length", "last_position"}

        plain = living("status").out
        assert plain.startswith("COS is ok")
        for value in (
            found["api"]["url"],
            str(found["postgres"]["pid"]),
            found["redis"]["url"],
            stream["key"],
        ):
            assert value in plain

    def test_doctor(self, living) -> None:
        ran = living("doctor", "--json")
        assert ran.code == 0, ran.out
        assert "database" in {one["check"] for one in json.loads(ran.out)}

    def test_logs(self, living) -> None:
        """The last lines of each part's log."""
        assert "ready to accept connections" in living("logs", "postgres").out
        assert living("logs", "redis", "-n", "2").out.count("\n") == 2
        assert living("logs", "postgres", "--lines", "0").out == ""
