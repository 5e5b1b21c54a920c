"""The command line in this process, and one COS that runs in another for all of these tests."""

from __future__ import annotations

import io
import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import structlog

from cos.cli.main import run

SAMPLE = Path(__file__).parents[2] / "data" / "authoring-sample.jsonl"


@dataclass(frozen=True)
class Ran:
    """How a command ended, and what it said."""

    code: int
    out: str
    err: str

    @property
    def sentence(self) -> str:
        """The one sentence of an error; there is nothing else on standard error."""
        lines = self.err.splitlines()
        assert len(lines) == 1, self.err
        assert lines[0].startswith("cos: ")
        assert lines[0].endswith((".", "cos up", ")"))
        return lines[0]


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A data folder that nothing runs in, as the settings give it; no other setting comes from outside."""
    for name in [name for name in os.environ if name.startswith("COS_")]:
        monkeypatch.delenv(name)
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)  # or each process compiles COS anew
    monkeypatch.setenv("COS_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("COS_FSYNC", "false")
    return tmp_path / "data"


@pytest.fixture
def cos(
    alone: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Ran]]:
    """Run a command here and now; its standard input is `stdin`."""

    def command(*arguments: str, stdin: bytes = b"") -> Ran:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(io.BytesIO(stdin))))
        capsys.readouterr()
        code = run(list(arguments))
        said = capsys.readouterr()
        assert "Traceback" not in said.out + said.err
        return Ran(code, said.out, said.err)

    handlers = logging.getLogger().handlers[:]
    yield command
    # `cos up` sets up the logs of its process, which here is ours.
    structlog.reset_defaults()
    logging.getLogger().handlers[:] = handlers


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The data folder of a COS that runs in the background."""
    folder = tmp_path_factory.mktemp("running") / "data"
    wanted = {"COS_FSYNC": "false", "COS_DATA_DIR": str(folder)}
    ours = ("COS_", "PYTHONDONTWRITEBYTECODE")  # the latter would have each process compile COS anew
    environment = {name: value for name, value in os.environ.items() if not name.startswith(ours)} | wanted
    program = [sys.executable, "-m", "cos.cli.main"]
    subprocess.run([*program, "up", "--detach", "--port", "0"], env=environment, check=True, timeout=120)
    yield folder
    subprocess.run([*program, "down"], env=environment, check=True, timeout=60)


@pytest.fixture
def living(cos: Callable[..., Ran], running: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Ran]:
    """Run a command for the COS that runs."""
    monkeypatch.setenv("COS_DATA_DIR", str(running))
    return cos


@pytest.fixture
def sample() -> Path:
    """201 invented authoring events, one a line; one line stands there twice."""
    return SAMPLE


@pytest.fixture
def eventually_sync() -> Callable[[Callable[[], object]], None]:
    """Wait until something holds, without an event loop."""

    def wait(check: Callable[[], object], seconds: float = 20.0) -> None:
        deadline = time.monotonic() + seconds
        while not check():
            assert time.monotonic() < deadline, "it never came true"
            time.sleep(0.01)

    return wait
