"""Under which identity Postgres runs when COS itself is root, which Postgres refuses."""

from __future__ import annotations

import asyncio
import os
import pwd
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cos.errors import ServerFailed
from cos.infra.launch import CHILD_ENVIRONMENT, GUARD

if TYPE_CHECKING:
    from collections.abc import Sequence

_CHECK_TIMEOUT_SECONDS = 20.0
_FIRST_DOOR = 100  # above every descriptor that a program opens for itself when it starts


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """An unprivileged identity: a user namespace that only renames root, or else a real other account.

    In a namespace (`namespace=True`) the files stay root's and root's rights are gone. Where the system
    refuses namespaces, the server runs as the account itself, to which its folders are given.
    """

    name: str
    uid: int
    gid: int
    namespace: bool

    @property
    def owner(self) -> tuple[int, int]:
        """The uid and gid, as seen from outside, that its files must have."""
        return (os.geteuid(), os.getegid()) if self.namespace else (self.uid, self.gid)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entrance:
    """How a program gets at its folders: the guard's options, and a path for each folder."""

    options: list[str]
    paths: list[str]


def entrance(account: Account | None, folders: Sequence[Path]) -> Entrance:
    """Say how a program that runs as `account` (None: as COS itself) reaches `folders`.

    A real other account could not walk there: the data folder is private, and so is root's home above it. The
    guard therefore opens each folder while it is still root, and the program enters through the descriptor.
    """
    if account is None:
        return Entrance(options=[], paths=[str(folder) for folder in folders])
    identity = f"{account.uid}:{account.gid}"
    if account.namespace:
        return Entrance(options=[f"namespace={identity}"], paths=[str(folder) for folder in folders])
    doors = dict(enumerate(folders, start=_FIRST_DOOR))
    return Entrance(
        options=[f"account={identity}", *(f"door{number}={folder}" for number, folder in doors.items())],
        paths=[f"/proc/self/fd/{number}" for number in doors],
    )


def unprivileged_entry() -> pwd.struct_passwd:
    """Choose the passwd entry that stands for "not root".

    Raises:
        ServerFailed: the machine knows no account but root.
    """
    entries = {entry.pw_name: entry for entry in pwd.getpwall() if entry.pw_uid != 0}
    for name in ("nobody", "daemon", *entries):
        if name in entries:
            return entries[name]
    raise ServerFailed(
        "Postgres refuses to run as root, and this machine has no other account: run COS as an ordinary user."
    )


async def choose_account() -> Account | None:
    """Find how Postgres can run here; None when COS is not root and nothing is needed.

    Raises:
        ServerFailed: there is no account but root, or this root may not change to it.
    """
    if os.geteuid() != 0:
        return None
    if sys.platform != "linux":
        raise ServerFailed("Postgres refuses to run as root: run COS as an ordinary user.")
    entry = unprivileged_entry()
    for namespace in (True, False):
        account = Account(name=entry.pw_name, uid=entry.pw_uid, gid=entry.pw_gid, namespace=namespace)
        code, _ = await _check(account, ())
        if code == 0:
            return account
    raise ServerFailed(
        "Postgres refuses to run as root, and this system allows neither a user namespace nor a change to "
        f"{entry.pw_name!r}: run COS as an ordinary user."
    )


async def check_program(account: Account, program: Path) -> None:
    """Make sure that a real other account can start the program.

    Raises:
        ServerFailed: it cannot; names the folder that keeps it out, and the way out.
    """
    code, path = await _check(account, (*reversed(program.parents), program))
    if code != 0:
        raise ServerFailed(
            "COS runs as root and this system refuses user namespaces, so Postgres runs as "
            f"{account.name!r}, which cannot enter {path}: install COS where every account can read it, "
            "or run COS as an ordinary user."
        )


def give(folder: Path, owner: tuple[int, int]) -> None:
    """Give a folder and all in it to `owner` (uid, gid), unless it already is theirs; needs root."""
    if folder.lstat().st_uid == owner[0]:
        return
    for root, folders, files in os.walk(folder, topdown=False):
        for name in (*folders, *files):
            os.chown(Path(root, name), *owner, follow_symlinks=False)
    # The top last: a giving that was cut short is seen by the test above and begun again.
    os.chown(folder, *owner, follow_symlinks=False)


async def _check(account: Account, paths: Sequence[Path]) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-I", "-S", str(GUARD), *entrance(account, ()).options, "check=1", "--"),
        *map(str, paths),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env=CHILD_ENVIRONMENT,
    )
    async with asyncio.timeout(_CHECK_TIMEOUT_SECONDS):
        out, _ = await process.communicate()
    return process.returncode or 0, out.decode(errors="replace")
