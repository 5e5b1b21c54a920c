"""Under which identity Postgres runs when COS itself is root, which Postgres refuses."""

from __future__ import annotations

import asyncio
import os
import pwd
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cos.errors import FolderNotWritable, ServerFailed
from cos.infra.launch import CHILD_ENVIRONMENT, GUARD

if TYPE_CHECKING:
    from collections.abc import Sequence

_CHECK_TIMEOUT_SECONDS = 20.0


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

    @property
    def guard_option(self) -> str:
        """The guard's argument that enters this identity."""
        return f"{'namespace' if self.namespace else 'account'}={self.uid}:{self.gid}"


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


async def check_reachable(account: Account, *, folder: Path, program: Path) -> None:
    """Make sure that a real other account can enter the data folder and start the program.

    Raises:
        FolderNotWritable: it cannot enter the data folder.
        ServerFailed: it cannot start the program.
    """
    ways = [step for path in (program, folder) for step in (*reversed(path.parents), path)]
    code, path = await _check(account, ways)
    if code == 0:
        return
    why = (
        f"COS runs as root and this system refuses user namespaces, so Postgres runs as {account.name!r}, "
        f"which cannot enter {path or folder}"
    )
    if not folder.is_relative_to(path):
        raise ServerFailed(
            f"{why}: install COS where every account can read it, or run COS as an ordinary user."
        )
    raise FolderNotWritable(
        f"{why}: choose a data folder outside private homes with COS_DATA_DIR, "
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
        *("-I", "-S", str(GUARD), account.guard_option, "check=1", "--"),
        *map(str, paths),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env=CHILD_ENVIRONMENT,
    )
    async with asyncio.timeout(_CHECK_TIMEOUT_SECONDS):
        out, _ = await process.communicate()
    return process.returncode or 0, out.decode(errors="replace")
