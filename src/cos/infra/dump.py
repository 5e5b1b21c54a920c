"""pg_dump and pg_restore, as children that cannot outlive this process: one gives pieces, the other takes them."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
from typing import IO, TYPE_CHECKING, Any, Final, Self, cast
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit, urlunsplit

from cos.errors import BadBackup, DiskFull, ServerFailed
from cos.infra.archive import PIECE_BYTES
from cos.infra.binaries import find_postgres_bin
from cos.infra.launch import CHILD_ENVIRONMENT, guarded
from cos.infra.logfile import telling_line

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import TracebackType

#: How pg_dump's session is called in `pg_stat_activity`.
SESSION: Final = "cos backup"
_END_SECONDS: Final = 30.0
#: Extensions that the embedded Postgres brings; any other of a given server is left out of the dump.
KNOWN_EXTENSIONS: Final = ("plpgsql", "vector")


class _Program:
    """One of the two programs; leaving the `with` block ends it."""

    def __init__(self, name: str, url: str, arguments: Sequence[str], **pipes: int) -> None:
        """Start it, in the calling thread, with which it ends.

        Args:
            name: of the program.
            url: of the database; a password in it is handed on where `ps` does not show it.
            arguments: further ones.
            **pipes: `stdin` or `stdout`, as for `subprocess.Popen`.
        """
        self.name = name
        plain, password = without_password(url)
        environment = {**CHILD_ENVIRONMENT, "PGAPPNAME": SESSION}
        if password is not None:
            environment["PGPASSWORD"] = password
        command = [str(find_postgres_bin() / name), *arguments, f"--dbname={plain}"]
        self._said: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  (closed at the end of the block)
        self.process = subprocess.Popen(  # noqa: S603  (a path of ours, no shell)
            guarded(command, stop_signal=signal.SIGTERM),
            env=environment,
            stderr=self._said,
            **cast("Any", pipes),
        )

    def __enter__(self) -> Self:
        """Give itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End it if it has not ended, and wait until it has."""
        self.end()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        self._said.close()

    def end(self) -> None:
        """Kill it; whoever reads from it or writes to it in another thread finds that it has gone."""
        self.process.kill()
        self.process.wait(_END_SECONDS)

    def said(self) -> str:
        """Give the line of its standard error that says why it failed."""
        self._said.seek(0)
        text = self._said.read().decode(errors="replace")
        line = telling_line(text) or f"exit code {self.process.returncode}"
        return line.removeprefix(f"{self.name}: ").removeprefix("error: ").rstrip(".")


class Dump(_Program):
    """A pg_dump that runs: iterate over it for the pieces of its custom format."""

    def __init__(self, url: str, *, snapshot: str, leave_out: Sequence[str] = ()) -> None:
        """Start it.

        Args:
            url: of the database.
            snapshot: an exported snapshot, whose transaction stays open until the end.
            leave_out: extensions that are not dumped.
        """
        arguments = [
            "--format=custom",
            "--compress=none",
            "--no-owner",
            "--no-privileges",
            f"--snapshot={snapshot}",
        ]
        arguments += [f'--exclude-extension="{name}"' for name in leave_out]
        super().__init__("pg_dump", url, arguments, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)

    def __iter__(self) -> Iterator[bytes]:
        """Give the pieces, each of 8 MiB but the last.

        Raises:
            ServerFailed: pg_dump failed; quotes why.
        """
        out = cast("IO[bytes]", self.process.stdout)
        while piece := out.read(PIECE_BYTES):
            yield piece
        if self.process.wait(_END_SECONDS) != 0:
            raise ServerFailed(f"The database could not be read to its end: {self.said()}.")


class Load(_Program):
    """A pg_restore that runs: give it the pieces."""

    def __init__(self, url: str) -> None:
        """Start it, for an empty database."""
        arguments = ("--format=custom", "--exit-on-error", "--no-owner", "--no-privileges")
        super().__init__("pg_restore", url, arguments, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)

    def feed(self, pieces: Iterator[bytes]) -> None:
        """Restore from the pieces and return when all is in the database.

        Raises:
            BadBackup: what the pieces hold cannot be restored; quotes why.
            DiskFull: there is no room for it.
        """
        into = cast("IO[bytes]", self.process.stdin)
        try:
            for piece in pieces:
                into.write(piece)
            into.close()
        except BrokenPipeError:
            pass  # it has ended; why, it has said
        if self.process.wait() == 0:
            for _ in pieces:
                pass  # the rest is not needed, but shall be proven
            return
        said = self.said()
        if "No space left on device" in said:
            raise DiskFull("The disk is full: the backup was not restored; make room, then try again.")
        raise BadBackup(f"The backup could not be restored: {said}.")


def without_password(url: str) -> tuple[str, str | None]:
    """Take the password out of a `postgresql://` URL, wherever it stands; gives both."""
    parts = urlsplit(url)
    password: str | None = None
    place = parts.netloc
    if "@" in place:
        account, host = place.rsplit("@", 1)
        user, colon, secret = account.partition(":")
        password = unquote(secret) if colon else None
        place = f"{user}@{host}"
    options = parse_qsl(parts.query, keep_blank_values=True)
    password = dict(options).get("password", password)
    query = urlencode([pair for pair in options if pair[0] != "password"], quote_via=quote)
    return urlunsplit(parts._replace(netloc=place, query=query)), password


def give_way(process: int, *, steps: int = 19) -> None:
    """Let a process (or thread, on Linux) have the processor only when others leave it; where that is allowed."""
    with contextlib.suppress(OSError, AttributeError):
        os.setpriority(os.PRIO_PROCESS, process, steps)
