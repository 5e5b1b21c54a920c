"""The private folder of the unix sockets: its path fits the platform's limit, nobody else can enter it."""

from __future__ import annotations

import errno
import hashlib
import os
import socket
import stat
import sys
import tempfile
from pathlib import Path
from typing import Final

from cos.errors import FolderNotWritable
from cos.infra.account import unprivileged_entry

# sun_path holds 108 bytes on Linux and 104 elsewhere, the closing zero included.
MAX_SOCKET_PATH_BYTES: Final = (108 if sys.platform == "linux" else 104) - 1
LONGEST_SOCKET_NAME: Final = ".s.PGSQL.5432"


def socket_folder(data: Path) -> Path:
    """Make a private folder for the sockets of a data folder: inside it, or under the temporary folder.

    The second when the path would be too long, or when the file system of the data folder has no sockets (as
    some that a virtual machine shares). The same data folder and user always get the same place. The runtime
    folder of the login session is not used: it vanishes at logout, under servers that run on.

    Args:
        data: the resolved path of the data folder.

    Raises:
        FolderNotWritable: something that is not private stands in its place.
        OSError: it cannot be created.
    """
    digest = hashlib.sha256(os.fsencode(data)).hexdigest()[:16]
    name = f"cos-{os.geteuid()}-{digest}"
    places = (data / "sockets", Path(tempfile.gettempdir(), name), Path("/tmp", name))  # noqa: S108  (verified)
    refused: OSError | None = None
    for place in places:
        # A comma separates hosts in a Postgres URL, encoded or not.
        if not fits(place) or "," in str(place):
            continue
        make_private(place)
        try:
            _try_bind(place)
        except OSError as error:
            refused = error
        else:
            return place
    raise refused or OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG), str(data))


def _try_bind(folder: Path) -> None:
    path = folder / ".try"
    path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(path))
    path.unlink()


def fits(folder: Path) -> bool:
    """Tell whether every socket in `folder` has a path that the platform can bind."""
    return len(os.fsencode(folder / LONGEST_SOCKET_NAME)) <= MAX_SOCKET_PATH_BYTES


def make_private(folder: Path) -> None:
    """Create a folder that only this account can enter, or make sure that the one there is such a folder.

    Raises:
        FolderNotWritable: a link, a file, another account's folder or an open one stands there.
        OSError: it cannot be created.
    """
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        pass
    else:
        folder.chmod(0o700)  # whatever the umask took away
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode):
        kind = "a symbolic link" if stat.S_ISLNK(found.st_mode) else "not a folder"
        raise FolderNotWritable(f"{folder} is {kind}, so sockets in it would not be private: remove it.")
    if found.st_uid not in _trusted_owners():
        raise FolderNotWritable(f"{folder} belongs to another account (uid {found.st_uid}): remove it.")
    if stat.S_IMODE(found.st_mode) != 0o700:  # noqa: PLR2004
        mode = f"{stat.S_IMODE(found.st_mode):04o}"
        raise FolderNotWritable(
            f"{folder} is open to other accounts (mode {mode}): run chmod 700 on it, or remove it."
        )


def _trusted_owners() -> set[int]:
    mine = os.geteuid()
    # Root may have given it to the account that Postgres ran as (see account.py).
    return {0, unprivileged_entry().pw_uid} if mine == 0 else {mine}
