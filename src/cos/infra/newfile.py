"""A file that comes into being whole: written beside its name, private, and given the name as the last step."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from pathlib import Path
from typing import IO, TYPE_CHECKING, NoReturn, Self

from cos.errors import Conflict, DiskFull, FolderNotWritable

if TYPE_CHECKING:
    from types import TracebackType


class NewFile:
    """Is written as `NAME.part` (0600) until `name_it`; leaving the `with` block without that leaves nothing behind.

    After a kill -9 the part is left, and the next run begins it anew.
    """

    def __init__(self, path: Path) -> None:
        """Begin the file.

        Args:
            path: what it shall be called.

        Raises:
            Conflict: there is such a file already, or another process is writing it.
            FolderNotWritable: its folder is not there or cannot be written.
            DiskFull: there is no room.
        """
        self.path = path
        self._part = path.with_name(f"{path.name}.part")
        if os.path.lexists(path):
            raise Conflict(f"There is already a file {path}: choose another name, or remove that one.")
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            self.out: IO[bytes] = os.fdopen(os.open(self._part, flags, 0o600), "wb")
        except OSError as error:
            self.refuse(error)
        try:
            fcntl.flock(self.out, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.out.close()
            raise Conflict(f"Another run is writing {path} now: choose another name.") from None
        self.out.truncate(0)
        os.fchmod(self.out.fileno(), 0o600)

    def flush(self) -> None:
        """Wait until what was written is on the disk; raises OSError."""
        self.out.flush()
        descriptor = self.out.fileno()
        os.fdatasync(descriptor) if hasattr(os, "fdatasync") else os.fsync(descriptor)
        if hasattr(os, "posix_fadvise"):
            # Nobody reads it soon: what the page cache holds of the database is worth more.
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)

    def name_it(self) -> int:
        """Wait for the disk and give the file its name; gives its size in bytes.

        Raises:
            DiskFull: there is no room.
            Conflict: a file of that name has come into being meanwhile; it is left alone.
        """
        try:
            self.out.flush()
            os.fsync(self.out.fileno())
            size = os.fstat(self.out.fileno()).st_size
            self._link()
            folder = os.open(self.path.parent, os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except FileExistsError:
            raise Conflict(
                f"There is a file {self.path} by now: it was left alone, and nothing written."
            ) from None
        except OSError as error:
            self.refuse(error)
        return size

    def _link(self) -> None:
        try:
            os.link(self._part, self.path)  # unlike a rename it never replaces a file
        except FileExistsError:
            raise
        except OSError:  # a file system without links
            if os.path.lexists(self.path):
                raise FileExistsError from None
            self._part.rename(self.path)

    def refuse(self, error: OSError) -> NoReturn:
        """Turn what the system said into one sentence."""
        if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
            raise DiskFull(
                f"The disk of {self.path.parent} is full: {self.path.name} was not written; make room or choose "
                "another disk."
            ) from None
        raise FolderNotWritable(
            f"The file {self.path} cannot be written: {(error.strerror or str(error)).lower()}."
        ) from None

    def __enter__(self) -> Self:
        """Give itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Remove what has no name yet."""
        with contextlib.suppress(OSError):
            self._part.unlink()  # while the lock is held: nobody else has begun it
        with contextlib.suppress(OSError):
            self.out.close()
