"""The file of a backup: a tar whose every byte is checksummed, written beside its name and given it when it is whole.

manifest.json      what the backup is of, known when it begins
database/000001…   pg_dump's custom format, cut into pieces; `tar -xOf FILE --wildcards 'database/*'` joins them
end.json           the SHA-256 of each of the above: a file without it was cut short
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import json
import os
import tarfile
import zlib
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final, Self, cast

from cos.errors import BadBackup, NotFound
from cos.infra.newfile import NewFile

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

FORMAT: Final = 1
PIECE_BYTES: Final = 8 * 1024 * 1024
_MAX_PIECE_BYTES: Final = 64 * 1024 * 1024
_MAX_JSON_BYTES: Final = 64 * 1024 * 1024  # one entry a piece: some 5 TB of database
_MANIFEST, _PIECE, _END = "manifest.json", "database/", "end.json"
_GZIP_MAGIC: Final = b"\x1f\x8b"
_SYNC_EVERY: Final = (
    4  # pieces; what waits for the disk stays small, so that the log's own syncs do not wait for it
)


class ArchiveWriter:
    """Writes one archive; leaving the `with` block without `finish` leaves nothing behind."""

    def __init__(self, path: Path) -> None:
        """Begin the file.

        Args:
            path: what it shall be called; ending in .gz it is packed.

        Raises:
            Conflict, FolderNotWritable, DiskFull: as `NewFile` does.
        """
        self._file = NewFile(path)
        self._sums: dict[str, str] = {}
        self._pieces = 0
        raw = self._file.out
        packed = path.suffix == ".gz"
        out = gzip.GzipFile(fileobj=raw, mode="wb", compresslevel=1, mtime=0) if packed else raw
        self._out = cast("IO[bytes]", out)
        self._tar = tarfile.open(fileobj=self._out, mode="w|", bufsize=1024 * 1024)  # noqa: SIM115  (see finish)

    def begin(self, manifest: dict[str, Any]) -> None:
        """Write what the backup is of; raises DiskFull."""
        self._add(_MANIFEST, _as_json({"format": FORMAT, **manifest}))

    def add(self, piece: bytes) -> None:
        """Write the next piece of the database; raises DiskFull."""
        self._pieces += 1
        self._add(f"{_PIECE}{self._pieces:06d}", piece)
        try:
            # What waits for the disk stays small, so that the log's own commits do not wait behind it.
            self._file.flush()
        except OSError as error:
            self._file.refuse(error)

    def finish(self) -> int:
        """Write the checksums, wait for the disk and give the file its name; gives its size in bytes.

        Raises:
            DiskFull: there is no room.
            Conflict: a file of that name has come into being meanwhile; it is left alone.
        """
        self._add(_END, _as_json({"pieces": self._pieces, "sha256": self._sums}))
        try:
            self._tar.close()
            if self._out is not self._file.out:
                self._out.close()
        except OSError as error:
            self._file.refuse(error)
        return self._file.name_it()

    def __enter__(self) -> Self:
        """Give itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Remove what is not finished."""
        with self._file:
            for layer in (self._tar, self._out):
                with contextlib.suppress(OSError, ValueError):
                    layer.close()  # each would otherwise write its end when it is thrown away

    def _add(self, name: str, content: bytes) -> None:
        entry = tarfile.TarInfo(name)
        entry.size, entry.mode = len(content), 0o600
        self._sums[name] = hashlib.sha256(content).hexdigest()
        try:
            self._tar.addfile(entry, io.BytesIO(content))
        except OSError as error:
            self._file.refuse(error)


class ArchiveReader:
    """Reads an archive from its beginning to its end and proves every byte of it on the way."""

    def __init__(self, path: Path) -> None:
        """Open the file and read its manifest.

        Raises:
            NotFound: there is no such file, or it may not be read.
            BadBackup: it is no backup, a damaged one, or one of a newer COS.
        """
        self.path = path
        self.bytes_read = 0
        self._sums: dict[str, str] = {}
        try:
            self._file = path.open("rb")
        except IsADirectoryError:
            raise BadBackup(f"{path} is a folder, not a backup.") from None
        except FileNotFoundError:
            raise NotFound(f"There is no file {path}.") from None
        except OSError as error:
            raise NotFound(
                f"The file {path} cannot be read: {(error.strerror or str(error)).lower()}."
            ) from None
        try:
            self.size = os.fstat(self._file.fileno()).st_size
            packed = self._file.peek(2)[:2] == _GZIP_MAGIC
            source = gzip.GzipFile(fileobj=self._file) if packed else self._file
            self._members = self._walk(cast("IO[bytes]", source))
            self.manifest = self._first()
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Self:
        """Give itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file."""
        self._file.close()

    def pieces(self) -> Iterator[bytes]:
        """Give the pieces of the database in order; ends only when the whole file was found to be as it was written.

        Raises:
            BadBackup: it is cut short, or a byte of it has changed. Pieces given before may be used only if none of
                them is believed until the end.
        """
        for number, (name, content) in enumerate(self._members, 1):
            if name == _END:
                self._check_end(content, number - 1)
                return
            if name != f"{_PIECE}{number:06d}":
                raise BadBackup(
                    f"{self.path} is damaged: it holds {name[:80]!r} where piece {number} should be."
                )
            yield content
        raise BadBackup(f"{self.path} is cut short: its end is missing, so it is no whole backup.")

    def _first(self) -> dict[str, Any]:
        name, content = next(self._members, ("", b""))
        try:
            manifest = json.loads(content) if name == _MANIFEST else None
        except (ValueError, RecursionError):
            manifest = None
        if not isinstance(manifest, dict) or not isinstance(manifest.get("format"), int):
            raise BadBackup(f"{self.path} is no backup of COS.")
        if manifest["format"] != FORMAT:
            raise BadBackup(
                f"{self.path} was written in format {manifest['format']} by a newer COS "
                f"({str(manifest.get('cos'))[:40]}); this one reads format {FORMAT}: upgrade COS first."
            )
        return manifest

    def _walk(self, source: IO[bytes]) -> Iterator[tuple[str, bytes]]:
        try:
            with tarfile.open(fileobj=source, mode="r|", bufsize=1024 * 1024) as tar:
                for entry in tar:
                    limit = _MAX_PIECE_BYTES if entry.name.startswith(_PIECE) else _MAX_JSON_BYTES
                    if not entry.isreg() or entry.size > limit:
                        raise BadBackup(f"{self.path} is no backup of COS, or a damaged one.")
                    content = cast("IO[bytes]", tar.extractfile(entry)).read()
                    if len(content) != entry.size:
                        raise BadBackup(
                            f"{self.path} is cut short: its end is missing, so it is no whole backup."
                        )
                    self._sums[entry.name] = hashlib.sha256(content).hexdigest()
                    self.bytes_read = self._file.tell()
                    yield entry.name, content
        except tarfile.ReadError as error:
            if not self._sums:
                raise BadBackup(f"{self.path} is no backup of COS.") from None
            what = "cut short" if "unexpected end" in str(error) else "damaged"
            raise BadBackup(f"{self.path} is {what}: {error}.") from None
        except EOFError:
            raise BadBackup(
                f"{self.path} is cut short: its end is missing, so it is no whole backup."
            ) from None
        except (zlib.error, gzip.BadGzipFile, tarfile.TarError, ValueError) as error:
            raise BadBackup(f"{self.path} is damaged: {error}.") from None
        except OSError as error:
            raise BadBackup(f"{self.path} cannot be read to its end: {error.strerror or error}.") from None

    def _check_end(self, content: bytes, pieces: int) -> None:
        del self._sums[_END]
        try:
            end = json.loads(content)
            wanted, count = end["sha256"], end["pieces"]
        except (ValueError, KeyError, TypeError, RecursionError):
            raise BadBackup(f"{self.path} is damaged: its checksums cannot be read.") from None
        if wanted == self._sums and count == pieces:
            return
        known = wanted if isinstance(wanted, dict) else {}
        wrong = next((name for name, found in self._sums.items() if known.get(name) != found), _END)
        raise BadBackup(f"{self.path} is damaged: {wrong} is not what was written.")


def _as_json(value: dict[str, Any]) -> bytes:
    return json.dumps(value, indent=1, ensure_ascii=False).encode() + b"\n"
