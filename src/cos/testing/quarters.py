"""Where the servers of one session live: a folder that no other project, worktree, session or worker has."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import signal
import tempfile
from pathlib import Path
from typing import Final

from cos.common.ids import random_hex
from cos.errors import FolderNotWritable
from cos.testing.aside import begin_aside

_DEADLY: Final = ((signal.SIGCONT, 0.0), (signal.SIGKILL, 2.0))
_ELSEWHERE: Final = "elsewhere"
_HALF_MADE_SECONDS: Final = 60.0


def cache_folder(wanted: str) -> Path:
    """Give the folder of prepared clusters and of running sessions: this account's cache, or the temporary folder.

    Args:
        wanted: a folder that the project names; empty for the usual one.

    Raises:
        FolderNotWritable: the folder that was named cannot be written.
    """
    import platformdirs  # noqa: PLC0415  (only a session with servers pays for it)

    usual = Path(platformdirs.user_cache_path("cos"), "testing")
    spare = Path(tempfile.gettempdir(), f"cos-testing-{os.geteuid()}")
    places = (Path(wanted).expanduser().absolute(),) if wanted else (usual, spare)
    problem = ""
    for place in places:
        try:
            place.mkdir(mode=0o700, parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=place):
                return place.resolve()
        except OSError as error:
            problem = problem or f"{place}: {(error.strerror or str(error)).lower()}"
    raise FolderNotWritable(
        f"The test kit has no folder for its servers ({problem}): name one with cos_cache_dir in the pytest settings."
    )


class Quarters:
    """One session's folder, locked for as long as its process lives; whoever comes next sweeps what a dead one left."""

    def __init__(self, *, cache: Path, project: Path, worker: str) -> None:
        """Take a new folder and sweep those of dead sessions.

        Args:
            cache: see `cache_folder`.
            project: the root folder of the tests; a second worktree is another one.
            worker: of pytest-xdist, such as "gw0"; "main" without it.

        Raises:
            OSError: it cannot be created.
        """
        self._sessions = cache / "sessions"
        self._sessions.mkdir(mode=0o700, exist_ok=True)
        digest = hashlib.sha256(os.fsencode(project)).hexdigest()[:8]
        self.name = f"{digest}-{os.getpid()}-{worker}-{random_hex(3)}"
        self.path = self._sessions / self.name
        self.path.mkdir(mode=0o700)
        self._lock = os.open(self.path / "alive", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        self._sweep()

    def remember(self, folder: Path) -> Path:
        """Note a folder that this session has elsewhere, so that it is removed too; gives it back."""
        if self.path not in folder.parents:
            with (self.path / _ELSEWHERE).open("a") as note:
                note.write(f"{folder}\n")
        return folder

    def close(self) -> None:
        """Give the folder up; a process of its own removes it, so that nobody waits for the disk."""
        _remove(self.path)
        os.close(self._lock)

    def _sweep(self) -> None:
        for path in self._sessions.iterdir():
            if path != self.path and not _alive(path):
                _end_servers_of(path)
                _remove(path)


def _alive(path: Path) -> bool:
    try:
        lock = os.open(path / "alive", os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        # Its owner may be about to make the lock.
        return _is_young(path)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False


def _is_young(path: Path) -> bool:
    from cos.common import clock  # noqa: PLC0415  (only beside a half-made folder)

    try:
        return clock.now().timestamp() - path.stat().st_mtime < _HALF_MADE_SECONDS
    except OSError:
        return False


def _end_servers_of(path: Path) -> None:
    """End servers whose owner could not take them along: one that was paused when it died."""
    from cos.infra.leftovers import end_leftovers  # noqa: PLC0415  (loads psutil; only a dead session needs it)

    for folder, program in ((path / "postgres", "postgres"), (path / "redis", "redis-server")):
        if folder.is_dir():
            end_leftovers(folder, program=program, steps=_DEADLY)


def _remove(path: Path) -> None:
    """Take a session's folder out of everybody's sight at once, and then away."""
    elsewhere = _elsewhere(path)
    trash = path.parent.with_name("trash")
    trash.mkdir(mode=0o700, exist_ok=True)
    hidden = trash / f"{path.name}-{random_hex(3)}"
    try:
        path.rename(hidden)
    except FileNotFoundError:
        return  # another session sweeps too
    if (program := shutil.which("rm")) is not None:
        begin_aside([program, "-rf", "--", str(hidden), *elsewhere])
    else:
        for one in (str(hidden), *elsewhere):
            shutil.rmtree(one, ignore_errors=True)


def _elsewhere(path: Path) -> list[str]:
    """Read what a session has outside of its folder: nothing but folders for sockets of this account."""
    try:
        lines = (path / _ELSEWHERE).read_text().splitlines()
    except OSError:
        return []
    return [line for line in lines if Path(line).name.startswith(f"cos-{os.geteuid()}-")]
