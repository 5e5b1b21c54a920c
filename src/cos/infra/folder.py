"""The data folder: where the servers' data, logs, sockets and the run state are, and who owns it now."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NoReturn

from cos.errors import DiskFull, FolderNotWritable
from cos.infra.lock import FolderLock, read_object
from cos.infra.sockets import make_private, socket_folder

# A new cluster takes 55 MB and a busy one adds logs of 16 MB: below this a start would fail half-way.
MIN_FREE_BYTES: Final = 128 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class DataFolder:
    """One writable folder with room in it, private to this account; built with `open`, or `find` to look only."""

    path: Path
    sockets: Path

    @classmethod
    def open(cls, path: Path) -> DataFolder:
        """Create the folder if need be (0700) and check that COS can work in it.

        Raises:
            FolderNotWritable: it is a file, not permitted, read-only, or open to every account.
            DiskFull: its disk has less than 128 MiB left.
        """
        path = Path(os.path.abspath(path.expanduser()))  # noqa: PTH100  (resolve() needs the folder to exist)
        if "\n" in str(path):
            raise FolderNotWritable(
                f"The data folder {str(path)!r} has a line break in its name: choose another."
            )
        try:
            if not path.is_dir():
                path.mkdir(mode=0o700, parents=True)
            path = path.resolve()
            _check_private(path)
            _check_room(path)
            with tempfile.TemporaryFile(dir=path):
                pass
            sockets = socket_folder(path)
            folder = cls(path=path, sockets=sockets)
            for inner in (folder.redis, folder.logs):
                inner.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            _refuse(path, error)
        return folder

    @classmethod
    def find(cls, path: Path) -> DataFolder:
        """Name a folder for who only looks: makes nothing, and needs no room, so it works where the disk is full too.

        Raises:
            FolderNotWritable: there can be none, for a file stands in its place, or nobody may look there.
        """
        path = Path(os.path.abspath(path.expanduser()))  # noqa: PTH100  (resolve() needs the folder to exist)
        try:
            if any(one.exists() and not one.is_dir() for one in (path, *path.parents)):
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path))
            path = path.resolve()
        except OSError as error:
            _refuse(path, error)
        return cls(path=path, sockets=path / "sockets")

    @property
    def postgres(self) -> Path:
        """The Postgres cluster."""
        return self.path / "postgres"

    @property
    def redis(self) -> Path:
        """The working folder of Redis."""
        return self.path / "redis"

    @property
    def logs(self) -> Path:
        """The servers' log files."""
        return self.path / "logs"

    @property
    def run_file(self) -> Path:
        """What the running COS says about itself."""
        return self.path / "run.json"

    def renew_sockets(self) -> None:
        """Make the folder of the sockets again if somebody cleaned it away.

        Raises:
            FolderNotWritable: something that is not private stands in its place, or it cannot be made.
        """
        try:
            make_private(self.sockets)
        except OSError as error:
            _refuse(self.path, error)

    def lock(self, description: dict[str, Any]) -> FolderLock:
        """Become the folder's owner until the lock is closed or this process ends.

        Args:
            description: JSON values for whoever comes second, such as `since` and `address`.

        Raises:
            AlreadyRunning: another process has it; says its pid, since when and where, as far as known.
            FolderNotWritable: the lock file cannot be written.
        """
        try:
            return FolderLock(
                self.path / "lock", description=description, read_run=self.read_run, keep=self.sockets
            )
        except OSError as error:
            _refuse(self.path, error)

    def write_run(self, state: dict[str, Any]) -> None:
        """Replace the run state at once and whole (0600); a reader sees the old one or the new one.

        Raises:
            FolderNotWritable: it cannot be written.
            DiskFull: there is no room for it.
        """
        new = self.path / "run.json.new"  # one name: only the owner of the lock writes
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            with os.fdopen(os.open(new, flags, 0o600), "w") as file:
                json.dump(state, file)
            new.replace(self.run_file)
        except OSError as error:
            _refuse(self.path, error)

    def read_run(self) -> dict[str, Any] | None:
        """Read the run state; None when there is none, or only a half-written or foreign one."""
        return read_object(self.run_file)

    def clear_run(self) -> None:
        """Remove the run state, if there is any."""
        with contextlib.suppress(FileNotFoundError):
            self.run_file.unlink()


def _check_private(path: Path) -> None:
    mode = path.stat().st_mode
    if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
        raise FolderNotWritable(
            f"Every account of this machine can change the data folder {path}: run chmod o-w on it."
        )


def _check_room(path: Path) -> None:
    free = shutil.disk_usage(path).free
    if free < MIN_FREE_BYTES:
        raise DiskFull(
            f"The disk of the data folder {path} has {free // 1024**2} MiB left and COS needs "
            f"{MIN_FREE_BYTES // 1024**2} MiB: make room, or choose another folder with COS_DATA_DIR.",
            free_bytes=free,
        )


def _refuse(path: Path, error: OSError) -> NoReturn:
    """Turn what the system said into one sentence."""
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        raise DiskFull(
            f"The disk of the data folder {path} is full: make room, "
            "or choose another folder with COS_DATA_DIR."
        ) from error
    where = Path(os.fsdecode(error.filename)) if isinstance(error.filename, str | bytes) else path
    if isinstance(error, FileExistsError | NotADirectoryError):
        culprit = next((one for one in (path, *path.parents) if one.exists() and not one.is_dir()), where)
        reason = f"{culprit} is a file, not a folder"
    else:
        reason = f"{where}: {(error.strerror or str(error)).lower()}"
    raise FolderNotWritable(
        f"The data folder {path} cannot be written ({reason}): choose another with COS_DATA_DIR."
    ) from error
