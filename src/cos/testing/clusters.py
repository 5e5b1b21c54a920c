"""Postgres clusters that are ready before anybody asks: one pristine, and spares to be taken by a rename.

    <cache>/postgres-<version>-<digest>/pristine      made once; never started
                                        spare-<hex>   copies of it; whoever renames one has it

After each taking a process of its own makes the next spare, so a session neither waits for a copy nor is kept from
ending by one. Whatever interrupts it, a spare is whole or not there: it is copied under another name.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from cos.common.ids import random_hex
from cos.infra.account import choose_account
from cos.infra.binaries import find_postgres_bin, read_version
from cos.infra.cluster import create_cluster
from cos.testing.aside import begin_aside

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SPARES: Final = 2
#: A test writes little: 4 MB segments make a cluster 12 MB smaller to copy than the usual 16 MB.
_OPTIONS: Final = ("--wal-segsize=4",)
_LAYOUT: Final = 1
_COPY: Final = """
cd "$1" || exit
while [ "$(ls -d spare-* 2>/dev/null | wc -l)" -lt "$2" ]; do
    new=$(mktemp -d copying-XXXXXXXX) || exit
    cp -a --reflink=auto pristine/. "$new" 2>/dev/null || cp -a pristine/. "$new" || { rm -rf "$new"; exit; }
    chmod 700 "$new" && mv "$new" "spare-${new#copying-}" || exit
done
find . -maxdepth 1 -name 'copying-*' -mmin +10 -exec rm -rf {} +
"""


class PreparedClusters:
    """Gives clusters that were set up earlier, for the Postgres that the kit brings."""

    def __init__(self, *, cache: Path) -> None:
        """Find the folder of this version of Postgres.

        Args:
            cache: see `cos.testing.quarters`.

        Raises:
            ServerFailed: the program is missing.
        """
        self._bin = find_postgres_bin()
        version = _version_of(self._bin, cache)
        what = f"{self._bin}\0{_OPTIONS}\0{_LAYOUT}\0{os.geteuid()}"
        digest = hashlib.sha256(what.encode()).hexdigest()[:8]
        self.path = cache / f"postgres-{version}-{digest}"
        self.path.mkdir(mode=0o700, exist_ok=True)

    async def take(self, target: Path) -> None:
        """Put a fresh cluster at `target`, which must not exist and be on the file system of the cache.

        Raises:
            DiskFull: there is no room.
            ServerFailed: it could not be made.
        """
        if self._claim(target):
            return
        with self._alone():
            if not (self.path / "pristine").is_dir():
                account = await choose_account()
                await create_cluster(
                    self.path / "pristine",
                    bin_folder=self._bin,
                    account=account,
                    fsync=False,
                    options=_OPTIONS,
                )
        if not self._claim(target):
            _copy(self.path / "pristine", target)

    def restock(self) -> None:
        """Let a process of its own make the spares that are missing."""
        begin_aside(["/bin/sh", "-c", _COPY, "sh", str(self.path), str(SPARES)])

    def _claim(self, target: Path) -> bool:
        for spare in self.path.glob("spare-*"):
            try:
                spare.rename(target)
            except FileNotFoundError:  # somebody else was quicker
                continue
            return True
        return False

    @contextmanager
    def _alone(self) -> Iterator[None]:
        lock = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)


def _copy(source: Path, target: Path) -> None:
    building = target.with_name(f"{target.name}.{random_hex(3)}")
    done = subprocess.run(  # noqa: S603  (our own folders, no shell)
        ["/bin/cp", "-a", "--reflink=auto", str(source), str(building)], check=False, capture_output=True
    )
    if done.returncode:  # not GNU's cp
        shutil.rmtree(building, ignore_errors=True)
        shutil.copytree(source, building, symlinks=True)
    building.rename(target)


def _version_of(folder: Path, cache: Path) -> str:
    """Read the version once for each program that is installed: asking it takes 10 ms."""
    program = folder / "postgres"
    found = program.stat()
    note = cache / f"version-{found.st_ino:x}-{found.st_mtime_ns:x}"
    try:
        return note.read_text()
    except FileNotFoundError:
        version = read_version(program)
        new = note.with_name(f"{note.name}.{random_hex(3)}")
        new.write_text(version)
        new.rename(note)
        return version
