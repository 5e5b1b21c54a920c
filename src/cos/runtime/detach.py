"""COS in the background: start it so that it outlives the terminal, and stop it again."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any, Self

import psutil

from cos.common import clock
from cos.errors import CosError, NotRunning, ServerFailed
from cos.infra.folder import DataFolder
from cos.runtime.reload import leave_note

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import TracebackType

    from cos.config import Settings

START_SECONDS = 180.0
STOP_SECONDS = 15.0


class Failed(CosError):
    """COS did not start in the background."""

    def __init__(self, detail: str, exit_code: int) -> None:
        """Carry the child's sentence and its exit code."""
        super().__init__(detail)
        self.exit_code = exit_code  # type: ignore[misc]  # the child's, whatever its class was


class Reporter:
    """The child's side: tells its parent, over a pipe, each step and how it ended."""

    def __init__(self, descriptor: int) -> None:
        """Take the pipe's file descriptor."""
        self._pipe = os.fdopen(descriptor, "w", buffering=1)

    def progress(self, line: str) -> None:
        """Report a step."""
        self._tell({"progress": line})

    def ready(self, url: str) -> None:
        """Report that everything answers; the parent may go."""
        self._tell({"ready": url})
        self._pipe.close()

    def __enter__(self) -> Self:
        """Report an error if one ends the block before it was ready."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Report the error."""
        if isinstance(error, CosError):
            self._tell({"error": error.detail, "code": error.exit_code})

    def _tell(self, message: dict[str, Any]) -> None:
        # The parent may have been interrupted: that does not concern what it started.
        with contextlib.suppress(OSError, ValueError):
            self._pipe.write(json.dumps(message) + "\n")


def start_detached(settings: Settings, *, progress: Callable[[str], None]) -> str:
    """Start COS in a session of its own and wait until it is ready.

    Args:
        settings: handed on; what came from the environment is inherited.
        progress: told one line a step.

    Returns:
        The API's address.

    Raises:
        CosError: the child's own sentence and exit code.
    """
    folder = DataFolder.open(settings.data_dir)
    ours, theirs = os.pipe()
    log = folder.logs / "cos.log"
    arguments = ["--data-dir", str(folder.path), "--port", str(settings.port), "--ready-fd", str(theirs)]
    arguments += ["--host", settings.host]
    if settings.config is not None:
        arguments += ["--config", str(settings.config.absolute())]
    with log.open("ab") as out:
        child = subprocess.Popen(  # noqa: S603  (our own interpreter and arguments)
            [sys.executable, "-m", "cos.cli.main", "up", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            pass_fds=(theirs,),
            start_new_session=True,
        )
    os.close(theirs)
    with os.fdopen(ours, "rb", buffering=0) as pipe:
        return _await_ready(child, pipe, progress, str(log))


def _await_ready(child: subprocess.Popen[bytes], pipe: Any, progress: Callable[[str], None], log: str) -> str:
    deadline = clock.monotonic() + START_SECONDS
    pending = b""
    with selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_READ)
        while (left := deadline - clock.monotonic()) > 0:
            if not selector.select(left):
                break
            chunk = pipe.read(65536)
            if not chunk:
                code = child.wait(timeout=10)
                raise Failed(
                    f"COS ended while it was starting (exit code {code}); {log} says why.", abs(code) or 1
                )
            *lines, pending = (pending + chunk).split(b"\n")
            for message in map(json.loads, lines):
                if "progress" in message:
                    progress(message["progress"])
                elif "ready" in message:
                    return str(message["ready"])
                else:
                    child.wait(timeout=30)
                    raise Failed(message["error"], message["code"])
    child.send_signal(signal.SIGTERM)
    raise ServerFailed(f"COS was not ready within {START_SECONDS:.0f} s and was stopped; {log} says why.")


def stop(settings: Settings) -> int:
    """Stop the COS of the data folder and wait until it has ended; gives its pid.

    Raises:
        NotRunning: there is none.
        ServerFailed: it did not end in time.
    """
    folder = DataFolder.find(settings.data_dir)
    run = folder.read_run()
    process = None if run is None else running_process(run)
    if process is None:
        folder.clear_run()
        raise NotRunning(f"COS is not running in {folder.path}.")
    try:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=STOP_SECONDS)
    except psutil.NoSuchProcess:
        pass
    except psutil.TimeoutExpired:
        raise ServerFailed(
            f"COS (pid {process.pid}) has not stopped within {STOP_SECONDS:.0f} s; its log in {folder.logs} may say "
            f"why; kill -9 {process.pid} is safe, nothing recorded is lost."
        ) from None
    return int(process.pid)


def reload(data_dir: Path) -> int:
    """Let the COS of a data folder read its settings again; gives its pid.

    Raises:
        NotRunning: there is none.
    """
    folder = DataFolder.find(data_dir)
    run = folder.read_run()
    process = None if run is None else running_process(run)
    try:
        if process is not None:
            leave_note(folder.path, process.pid)
            process.send_signal(signal.SIGHUP)
            return int(process.pid)
    except psutil.NoSuchProcess:
        pass
    raise NotRunning(f"COS is not running in {folder.path}.")


def running_process(run: dict[str, Any]) -> psutil.Process | None:
    """Give the process that a run state speaks of; None when it has ended, even if its pid lives on as another's."""
    pid, created = run.get("pid"), run.get("created")
    if not isinstance(pid, int) or not isinstance(created, int | float):
        return None
    try:
        process = psutil.Process(pid)
        alive = process.status() != psutil.STATUS_ZOMBIE and abs(process.create_time() - created) < 1.0
    except psutil.NoSuchProcess:
        return None
    return process if alive else None
