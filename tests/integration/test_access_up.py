"""COS on another address, as a process: not without a token, and then only with one."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

PATIENCE_SECONDS = 90.0
EVERYWHERE = "0.0.0.0"  # noqa: S104  (what is tested)

Cos = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    kept = {n: v for n, v in os.environ.items() if not n.startswith(("COS_", "PYTHONDONTWRITEBYTECODE"))}
    ours = {"COS_DATA_DIR": str(tmp_path / "data"), "COS_FSYNC": "false", "COS_PORT": "0"}
    return kept | ours


@pytest.fixture
def cos(environment: dict[str, str]) -> Cos:
    def run(*arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "cos.cli.main", *arguments],
            env=environment | more,
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
            check=False,
        )

    return run


@pytest.fixture
def started(environment: dict[str, str]) -> Iterator[Callable[..., tuple[subprocess.Popen[str], str]]]:
    running: list[subprocess.Popen[str]] = []

    def start(*arguments: str) -> tuple[subprocess.Popen[str], str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "cos.cli.main", "up", *arguments],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        running.append(process)
        for line in process.stdout:
            if found := re.search(r"http://127\.0\.0\.1:\d+", line):
                return process, found[0]
        pytest.fail(f"it ended with {process.wait()}")

    yield start
    for process in running:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=PATIENCE_SECONDS)


class TestElsewhere:
    """`cos up --host 0.0.0.0`."""

    def test_from_no_token_to_a_revoked_one(self, cos, started, environment) -> None:
        """Refused without one; started with one; asks each time; the command line finds its own."""
        refused = cos("up", "--host", EVERYWHERE)
        assert refused.returncode == 25, refused.stdout + refused.stderr
        assert "cos token create" in refused.stderr
        assert "Traceback" not in refused.stderr + refused.stdout

        reader = cos("token", "create", "reader").stdout.strip()
        assert cos("up", "--host", EVERYWHERE).returncode == 25  # one that only reads is none
        saved = cos("token", "create", "me", "--scope", "admin", "--save")
        assert saved.returncode == 0, saved.stderr
        file = Path(environment["COS_DATA_DIR"]) / "token"
        assert file.stat().st_mode & 0o777 == 0o600
        secret = file.read_text().strip()
        assert secret not in saved.stdout + saved.stderr

        _, url = started("--host", EVERYWHERE)
        with httpx.Client(base_url=url, trust_env=False, timeout=30) as http:
            theirs = {"Authorization": f"Bearer {reader}"}
            assert http.get("/health").status_code == 200
            assert http.get("/cc/status").status_code == 401
            assert http.get("/cc/status", headers=theirs).status_code == 200
            assert http.post("/events", json={"type": "a.b"}, headers=theirs).status_code == 403
            assert http.get("/cc/status", headers=theirs | {"Host": "evil.example"}).status_code == 403

            assert cos("log", "chapter.saved").returncode == 0
            assert cos("log", "chapter.saved", COS_TOKEN="wrong").returncode != 0  # noqa: S106  (none)
            listed = json.loads(cos("token", "list", "--json").stdout)
            assert {(one["name"], one["scope"]) for one in listed} == {("reader", "read"), ("me", "admin")}

            assert cos("token", "revoke", "reader").returncode == 0
            deadline = time.monotonic() + PATIENCE_SECONDS  # another process revoked it
            while http.get("/cc/status", headers=theirs).status_code != 401:
                assert time.monotonic() < deadline, "the revoked token is still taken"

        file.chmod(0o644)
        told = cos("log", "chapter.saved")
        assert told.returncode != 0
        assert "chmod 600" in told.stderr

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            (("token", "create", "x", "--scope", "root"), "--scope"),
            (("token", "create", "x", "--expires", "soon"), "such as 90d"),
            (("token", "create", ""), "NAME"),
            (("up", "--host", "203.0.113.7"), "no address of this machine"),
        ],
    )
    def test_bad_input(self, cos, arguments, said) -> None:
        """One sentence that names it, and no token is made."""
        told = cos(*arguments)
        assert told.returncode not in {0, 1}
        assert said in told.stderr
        assert "Traceback" not in told.stderr
