"""A program as one side of a comparison: how long it runs, what it uses of the CPU, and its memory at its most."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryFile

from cos.errors import CosError

_TAIL = 500
_END_S = 10.0
_RUNNER = str(Path(__file__).with_name("command_runner.py"))


class CommandFailed(CosError):
    """A program that is measured did not end well."""

    slug = "command-failed"


@dataclass(frozen=True, slots=True)
class Used:
    """What one run of a program took."""

    seconds: float
    cpu_s: float
    memory_peak_bytes: int


@dataclass(frozen=True, slots=True)
class Command:
    """A program with its arguments; one run of it is one call.

    Attributes:
        arguments: the program first.
        cwd: the folder to run it in; the current one when None.
        env: variables to set beside those of this process.
        name: for tables; the program when empty.
        timeout_s: after which it is killed, in seconds.
    """

    arguments: Sequence[str]
    cwd: Path | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    name: str = ""
    timeout_s: float = 300.0

    def run(self) -> Used:
        """Run it to its end.

        Raises:
            CommandFailed: it cannot be started, ended with another code than 0, or took too long.
        """
        settings = (
            ["/usr/bin/env", *(f"{name}={value}" for name, value in self.env.items())] if self.env else []
        )
        shown = " ".join(self.arguments)
        with TemporaryFile() as errors:
            process = subprocess.Popen(  # noqa: S603  (the caller's own program)
                [sys.executable, "-I", "-S", _RUNNER, *settings, *self.arguments],
                cwd=self.cwd,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                start_new_session=True,
            )
            try:
                told = json.loads(process.communicate(timeout=self.timeout_s)[0] or "{}")
            except subprocess.TimeoutExpired:
                raise CommandFailed(
                    f"`{shown}` was killed after {self.timeout_s:g} s: give it more time."
                ) from None
            finally:
                _end(process)
            if "error" in told:
                raise CommandFailed(f"`{shown}` cannot be started ({told['error']}): check the program.")
            if told.get("code") != 0:
                errors.seek(0)
                tail = errors.read()[-_TAIL:].decode(errors="replace").strip()
                raise CommandFailed(f"`{shown}` ended with {told.get('code')}: {tail or 'it said nothing'}")
        return Used(told["seconds"], told["cpu_s"], told["memory_peak_bytes"])


def _end(process: subprocess.Popen[bytes]) -> None:
    """Leave nothing of it, also when it was interrupted."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    if process.stdout is not None:
        process.stdout.close()
    process.wait(_END_S)
