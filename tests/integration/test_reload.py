"""A running COS that reads its settings again: what it takes over, what it refuses, and the event of each."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

PASSWORD_URL = "postgresql://somebody:open-sesame@127.0.0.1:1/nowhere"  # noqa: S105  (invented)


class Running:
    """A `cos up` in the background, with a settings file of its own."""

    def __init__(self, folder: Path) -> None:
        ours = ("COS_", "PYTHONDONTWRITEBYTECODE")
        self.environment = {n: v for n, v in os.environ.items() if not n.startswith(ours)}
        self.environment |= {"COS_DATA_DIR": str(folder), "COS_FSYNC": "false", "COS_PORT": "0"}
        self.folder = folder

    def cos(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "cos.cli.main", *arguments]
        return subprocess.run(
            command, env=self.environment, capture_output=True, text=True, timeout=120, check=False
        )

    def write(self, text: str) -> None:
        (self.folder / "cos.toml").write_text(text)

    @property
    def state(self) -> dict[str, Any]:
        return dict(json.loads((self.folder / "run.json").read_bytes()))

    @property
    def log(self) -> str:
        return (self.folder / "logs" / "cos.log").read_text()


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    made = Running(tmp_path / "data")
    begun = made.cos("up", "--detach")
    assert begun.returncode == 0, begun.stderr
    yield made
    made.cos("down")


@pytest.fixture
async def told(running: Running, eventually: Callable[..., Any]) -> Callable[..., Any]:
    """Wait for so many events of a type; gives them, oldest first."""

    async def wait(kind: str, count: int) -> list[dict[str, Any]]:
        async with httpx.AsyncClient(base_url=running.state["api"]["url"], trust_env=False) as http:

            async def there() -> list[dict[str, Any]]:
                answer = await http.get("/events", params={"type": kind, "after": "0-0"})
                found = answer.json().get("events", [])
                return found if len(found) >= count else []

            return list(await eventually(there, seconds=60))

    return wait


class TestReload:
    async def test_each_is_an_event(self, running, told) -> None:
        """Who asked, what changed, what waits for a restart, what was refused and kept; never a secret."""
        pid = running.state["pid"]
        running.write(
            f'max_data_bytes = 2048\nlog_level = "debug"\nscratch_ttl_days = 3\ndatabase_url = "{PASSWORD_URL}"\n'
        )
        asked = running.cos("reload")
        assert asked.returncode == 0, asked.stderr
        [first] = await told("config.reloaded", 1)
        assert first["data"]["by"]["via"] == "cos reload"
        assert first["data"]["by"]["user"]
        assert first["data"]["changed"] == {
            "log_level": {"from": "info", "to": "debug"},
            "max_data_bytes": {"from": 1048576, "to": 2048},
        }
        assert first["data"]["need_a_restart"] == ["database_url", "scratch_ttl_days"]
        assert not (running.folder / "reload.json").exists()

        running.write('log_level = "loud"\nmax_data_bytes = 1024\n')
        refused = running.cos("reload")
        assert refused.returncode == 16
        assert refused.stderr.count("\n") == 1
        assert "The setting log_level=loud" in refused.stderr
        assert f"COS (pid {pid}) was asked too, and keeps what it has." in refused.stderr
        [second] = await told("config.reload_refused", 1)
        assert second["level"] == "error"
        assert "The setting log_level=loud" in second["data"]["error"]
        assert second["data"]["by"]["via"] == "cos reload"
        async with httpx.AsyncClient(base_url=running.state["api"]["url"], trust_env=False) as http:
            large = await http.post("/events", json={"type": "a.b", "data": "x" * 1500})
            assert large.status_code == 201, "what was refused was taken over in part"
            too_large = await http.post("/events", json={"type": "a.b", "data": "x" * 3000})
            assert too_large.status_code == 413

        running.write("")
        os.kill(pid, signal.SIGHUP)
        [_, third] = await told("config.reloaded", 2)
        assert third["data"]["by"] == {"via": "SIGHUP", "user": None}
        assert third["data"]["changed"]["max_data_bytes"] == {"from": 2048, "to": 1048576}
        assert running.state["pid"] == pid
        assert "open-sesame" not in json.dumps([first, second, third]) + running.log

    async def test_while_postgres_is_away(self, running, told) -> None:
        """The process takes it over at once, and records it when Postgres is back."""
        state = running.state
        os.kill(state["postgres"]["pid"], signal.SIGKILL)
        running.write('log_level = "warning"\n')
        os.kill(state["pid"], signal.SIGHUP)
        [event] = await told("config.reloaded", 1)
        assert event["data"]["changed"] == {"log_level": {"from": "info", "to": "warning"}}
