"""Creates a Postgres cluster, whole or not at all."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cos.errors import DiskFull, OtherMajorVersion, ServerFailed
from cos.infra.account import choose_account, entrance, give
from cos.infra.binaries import find_postgres_bin
from cos.infra.launch import run_guarded
from cos.infra.leftovers import end_leftovers
from cos.infra.logfile import telling_line

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cos.infra.account import Account

USER: Final = "cos"
DATABASE: Final = "cos"
MAJOR_VERSION: Final = "18"
_PREFIX: Final = "postgres.new-"
_TIMEOUT_SECONDS: Final = 120.0
# One request for the whole file system is several times faster than one for each of a thousand files.
_SYNC_METHOD: Final = "--sync-method=syncfs" if sys.platform == "linux" else "--sync-method=fsync"


def cluster_exists(path: Path) -> bool:
    """Tell whether a cluster of our major version is there.

    Raises:
        OtherMajorVersion: another version of Postgres wrote it.
        ServerFailed: something else is in its place.
    """
    version_file = path / "PG_VERSION"
    try:
        found = version_file.read_text().strip()
    except (FileNotFoundError, NotADirectoryError):
        if not path.exists() or (path.is_dir() and not any(path.iterdir())):
            return False
        raise ServerFailed(
            f"{path} is not a Postgres cluster: move it away, and COS makes a new one at the next start."
        ) from None
    if found == MAJOR_VERSION:
        return True
    raise OtherMajorVersion(
        f"The data in {path} was written by Postgres {found} and this COS brings Postgres {MAJOR_VERSION}: "
        "move the folder away and restore from a backup, or use the COS that wrote it.",
        found=found,
        wanted=MAJOR_VERSION,
    )


async def create_cluster(
    path: Path, *, bin_folder: Path, account: Account | None, fsync: bool, options: Sequence[str] = ()
) -> None:
    """Make a cluster with the database `cos` at `path`; `options` are further ones of initdb.

    It is built in a folder beside `path` and renamed as the last step, so whatever interrupts it (kill -9, a
    power cut), `path` holds nothing or a complete cluster. Syncing is one pass at the end, not one a file.

    Raises:
        DiskFull: there is no room for it.
        ServerFailed: initdb failed; quotes why.
    """
    await asyncio.to_thread(_remove_unfinished, path.parent)
    building = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=path.parent))
    try:
        if account is not None:
            give(building, account.owner)
        way = entrance(account, [building])
        place = ("-D", way.paths[0])
        # The builtin C.UTF-8 collation does not change with the machine's libc, which would corrupt indexes.
        locale = ("--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8")
        # Trust: whoever can open the socket is this account already, for its folder is 0700 (decision 0003).
        rights = (f"--username={USER}", "--auth-local=trust", "--auth-host=reject", "--data-checksums")
        await _run((f"{bin_folder}/initdb", *place, *locale, *rights, *options, "--no-sync"), way.options)
        single = (f"{bin_folder}/postgres", "--single", *place, "-c", "fsync=off", "template1")
        await _run(single, way.options, stdin=f"CREATE DATABASE {DATABASE}\n".encode())
        if fsync:
            await _run((f"{bin_folder}/initdb", *place, "--sync-only", _SYNC_METHOD), way.options)
        await asyncio.to_thread(_put_in_place, building, path, fsync=fsync)
    except BaseException:
        await asyncio.shield(asyncio.to_thread(shutil.rmtree, building, ignore_errors=True))
        raise


async def sync_cluster(path: Path) -> None:
    """Return when every file of a cluster that is stopped has reached the disk.

    Raises:
        ServerFailed: it cannot be made sure; quotes why.
    """
    way = entrance(await choose_account(), [path])
    await _run(
        (f"{find_postgres_bin()}/initdb", "-D", way.paths[0], "--sync-only", _SYNC_METHOD), way.options
    )


async def _run(program: Sequence[str], options: Sequence[str], *, stdin: bytes = b"") -> None:
    name = Path(program[0]).name
    try:
        code, text = await run_guarded(
            program,
            stop_signal=signal.SIGTERM,
            timeout_seconds=_TIMEOUT_SECONDS,
            options=options,
            stdin=stdin,
        )
    except TimeoutError:
        raise ServerFailed(
            f"Postgres could not be set up: {name} took over {_TIMEOUT_SECONDS:g} s."
        ) from None
    # The stand-alone backend ends with 0 after a statement that failed.
    if code == 0 and "ERROR:" not in text:
        return
    if "No space left on device" in text:
        raise DiskFull("Postgres could not be set up because the disk is full: make room, then try again.")
    raise ServerFailed(
        f"Postgres could not be set up: {name} said: {telling_line(text) or f'exit code {code}'}."
    )


def _remove_unfinished(parent: Path) -> None:
    for old in parent.glob(f"{_PREFIX}*"):
        end_leftovers(old, program="postgres", steps=((signal.SIGKILL, 2.0),))
        shutil.rmtree(old, ignore_errors=True)


def _put_in_place(building: Path, path: Path, *, fsync: bool) -> None:
    building.rename(path)
    if not fsync:
        return
    descriptor = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
