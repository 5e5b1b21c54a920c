"""What `cos doctor` finds in a data folder that belongs to nobody any more, or is open to others, and mends."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import stat
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import psutil

from cos.common import clock
from cos.config import FILE_NAME
from cos.errors import AlreadyRunning, FolderNotWritable
from cos.infra.account import give
from cos.infra.folder import DataFolder
from cos.infra.leftovers import end_leftovers, find_leftovers
from cos.infra.lock import read_object
from cos.infra.rotation import set_aside
from cos.runtime.detach import running_process
from cos.runtime.fault import Fault
from cos.runtime.pausing import paused

if TYPE_CHECKING:
    from cos.config import Settings
    from cos.infra.lock import FolderLock

_OPEN_TO_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO
_END_STEPS: Final = ((signal.SIGINT, 3.0), (signal.SIGQUIT, 2.0), (signal.SIGKILL, 2.0))
_PROGRAMS: Final = (("postgres", "postgres"), ("redis", "redis-server"))
_SOCKETS: Final = {
    "postgres": ("sockets/.s.PGSQL.5432", "sockets/.s.PGSQL.5432.lock"),
    "redis": ("sockets/redis.sock", "redis/redis.pid"),
}
_UNFINISHED: Final = ("postgres.new-*", "restoring-*", "run.json.new", "logs/*.log.new")


def faults(settings: Settings) -> list[Fault]:
    """Look at the data folder; changes nothing. A folder that is not there yet has no faults.

    What belongs to a COS that runs is left out.
    """
    path = settings.data_dir.expanduser()
    if not path.is_dir():
        return []
    found = list(_permissions(path, settings))
    if any(not os.access(one, os.R_OK | os.W_OK | os.X_OK) for one in _folders(path)):
        return found + list(_foreign(path))  # what is behind them cannot be seen before they are mended
    found += _foreign(path)
    if _in_use(path):
        found += paused(path)
    else:
        found += [*_stale(path), *_unfinished(path), *_processes(path), *_no_cluster(path)]
    return found + list(_long_logs(path, settings))


def mend(settings: Settings) -> list[str]:
    """Mend all faults; gives what was done.

    Raises:
        AlreadyRunning: a COS has come to the folder meanwhile; nothing more was done.
        CosError: the folder cannot be written.
    """
    done = [one.mend() for one in _permissions(settings.data_dir.expanduser(), settings) if one.mend]
    lock = _owned(settings)
    try:
        done += [one.mend() if one.mend else f"{one.found}: {one.advice}" for one in faults(settings)]
    finally:
        if lock is not None:
            lock.close()
    return done


def unlock(folder: Path) -> list[str]:
    """Give its own account the rights on a data folder and on the settings file in it back; gives what was done.

    For when the settings cannot be read, so that nothing else is known.

    Raises:
        FolderNotWritable: they belong to another account.
    """
    place = folder.expanduser()
    done: list[str] = []
    for one in (place, place / FILE_NAME):  # the second can only be seen when the first is mended
        done += [fault.mend() for fault in _locked(one) if fault.mend]
    return done


def _owned(settings: Settings) -> FolderLock | None:
    """Become the folder's owner, so that nobody starts in what is being cleared; None where a COS runs."""
    path = settings.data_dir.expanduser()
    if not path.is_dir() or not (path / "sockets").exists():
        return None  # nothing has run there yet, so there is no place to say so either
    try:
        # Not opened: what is mended may be what keeps it from being opened, or what fills the disk.
        return DataFolder.find(settings.data_dir).lock({"since": clock.now().isoformat()})
    except AlreadyRunning:
        return None


def _in_use(path: Path) -> bool:
    run = read_object(path / "run.json")
    return run is not None and running_process(run) is not None


def _permissions(path: Path, settings: Settings) -> Iterator[Fault]:
    if not path.is_dir():
        return
    inside = (path / "run.json", path / "cos.toml") if os.access(path, os.X_OK) else ()
    files = [one for one in (*inside, settings.config) if one is not None]
    for one in (*_folders(path), *files):
        yield from _locked(one)
        mode = stat.S_IMODE(one.stat().st_mode) if one.exists() and not one.is_symlink() else 0
        others = mode & _OPEN_TO_OTHERS
        # Who may look into the data folder itself is the owner's choice; to change it is nobody else's.
        allowed = _OPEN_TO_OTHERS & ~stat.S_IWOTH if one == path else 0
        if others & ~allowed:
            yield Fault(
                found=f"{one} is open to other accounts (mode {mode:04o})",
                mend=partial(_close, one, allowed),
            )


def _locked(path: Path) -> Iterator[Fault]:
    """Find that an account cannot use what belongs to it."""
    if not path.exists() or path.is_symlink():
        return
    mode = stat.S_IMODE(path.stat().st_mode)
    own = stat.S_IRWXU if path.is_dir() else stat.S_IRUSR | stat.S_IWUSR
    if own & ~mode:
        yield Fault(
            found=f"{path} cannot be used by its own account (mode {mode:04o})",
            mend=partial(_give_back, path, own),
        )


def _folders(path: Path) -> list[Path]:
    """Give the folder and those in it that are there."""
    inner = (path / name for name in ("redis", "logs", "postgres", "sockets"))
    return [path, *(one for one in inner if one.is_dir())] if os.access(path, os.X_OK) else [path]


def _give_back(path: Path, own: int) -> str:
    _change_mode(path, stat.S_IMODE(path.stat().st_mode) | own)
    return f"{path} can be used again"


def _foreign(path: Path) -> Iterator[Fault]:
    """Find what belongs to another account than the folder does: somebody ran COS there as another one."""
    owner = path.stat().st_uid
    looked = [one for one in _folders(path) if os.access(one, os.R_OK | os.X_OK)]
    for one in sorted(inner for folder in looked for inner in folder.iterdir()):
        uid = one.lstat().st_uid
        # Where root may not rename itself in a namespace, Postgres has an account of its own.
        if uid == owner or (owner == 0 and one.is_relative_to(path / "postgres")):
            continue
        found = f"{one} belongs to the account {_account(uid)}, the data folder to {_account(owner)}"
        if os.geteuid() == 0:
            yield Fault(found=found, mend=partial(_chowned, one, owner))
        else:
            yield Fault(found=found, mend=None, advice=f"run: sudo chown -R {_account(owner)} {path}")


def _chowned(path: Path, owner: int) -> str:
    give(path, (owner, path.parent.stat().st_gid))
    return f"{path} belongs to the account {_account(owner)} now"


def _account(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _change_mode(path: Path, mode: int) -> None:
    try:
        path.chmod(mode)
    except OSError as error:
        raise FolderNotWritable(
            f"The rights on {path} cannot be changed by this account: {(error.strerror or str(error)).lower()}; "
            f"run: sudo chmod {mode:o} {path}"
        ) from None


def _close(path: Path, allowed: int) -> str:
    _change_mode(path, stat.S_IMODE(path.stat().st_mode) & ~(_OPEN_TO_OTHERS & ~allowed))
    return f"{path} is private now"


def _stale(path: Path) -> Iterator[Fault]:
    run = path / "run.json"
    if run.exists():
        yield Fault(found=f"{run} speaks of a COS that has ended", mend=partial(_removed, run))


def _unfinished(path: Path) -> Iterator[Fault]:
    for one in (found for pattern in _UNFINISHED for found in path.glob(pattern)):
        yield Fault(found=f"{one} was left half made", mend=partial(_removed, one))


def _removed(path: Path) -> str:
    for folder in (path, *path.glob("*")) if path.is_dir() else ():
        end_leftovers(folder, program="postgres", steps=((signal.SIGKILL, 2.0),))
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
    return f"{path} is removed"


def _processes(path: Path) -> Iterator[Fault]:
    for name, program in _PROGRAMS:
        folder = (path / name).resolve()
        left = find_leftovers(folder, program=program)
        if left:
            pids = ", ".join(str(process.pid) for process in left)
            yield Fault(
                found=f"{program} still works in {folder} without its COS (process {pids})",
                mend=partial(_ended, folder, program),
            )
            continue
        for one in _SOCKETS[name]:
            if (path / one).exists():
                yield Fault(found=f"{path / one} belongs to no server", mend=partial(_removed, path / one))


def _ended(folder: Path, program: str) -> str:
    pids = end_leftovers(folder, program=program, steps=_END_STEPS)
    alive = [pid for pid in pids if psutil.pid_exists(pid)]
    return f"{program} in {folder} {'does not end' if alive else 'has been ended'}"


def _no_cluster(path: Path) -> Iterator[Fault]:
    """Find a folder that stands in the cluster's place and is none, which keeps COS from starting."""
    place = path / "postgres"
    if place.is_dir() and any(place.iterdir()) and not (place / "PG_VERSION").exists():
        aside = path / f"postgres.broken-{clock.now():%Y%m%dT%H%M%SZ}"
        yield Fault(found=f"{place} is not a whole Postgres cluster", mend=partial(_moved, place, aside))


def _moved(place: Path, aside: Path) -> str:
    place.rename(aside)
    return f"{place} is moved to {aside}; nothing in it was changed"


def _long_logs(path: Path, settings: Settings) -> Iterator[Fault]:
    for log in sorted((path / "logs").glob("*.log")):
        size = log.stat().st_size
        if size > settings.log_max_bytes:
            yield Fault(
                found=f"{log} has {size // 1024**2} MiB",
                mend=partial(_rotated, log, settings.log_files),
            )


def _rotated(log: Path, keep: int) -> str:
    set_aside(log, keep=keep)
    return f"{log} is set aside and begun anew"
