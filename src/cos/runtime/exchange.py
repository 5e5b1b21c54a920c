"""`cos export events` and the way back: the log as lines, with bounded memory, to the byte."""

from __future__ import annotations

import contextlib
import gzip
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final, cast

import asyncpg

from cos.common import db
from cos.errors import BadInput, CosError, DiskFull, PostgresUnreachable
from cos.infra.newfile import NewFile
from cos.memory import sql
from cos.memory.exchange import HEADER, Prompt, end_of, event_of, line_of, read_end
from cos.memory.l1_log import rows_of
from cos.migrations.apply import migrate
from cos.runtime.backup import database_of

if TYPE_CHECKING:
    from cos.config import Settings
    from cos.memory.event import NewEvent

#: Rows fetched at once; a row is at most some 70 MB and usually less than one thousandth of that.
_FETCHED: Final = 100
_CHUNK_BYTES: Final = 256 * 1024
_BATCH_EVENTS: Final = 1000
_BATCH_BYTES: Final = 4 * 1024 * 1024
_WRITE_SECONDS: Final = 120.0
_PROMPT_COLUMNS: Final = ("prompt", "response", "model", "latency_ms", "tokens_in", "tokens_out")

Advance = Callable[[int], object]


async def export_to_file(settings: Settings, path: Path, *, module: str | None, advance: Advance) -> int:
    """Write the log to a new file, packed if its name ends in .gz; gives the number of events.

    Raises:
        Conflict: the file exists already.
        DiskFull, FolderNotWritable: it cannot be written.
        NotFound: there is no database.
    """
    with NewFile(path) as file, contextlib.ExitStack() as stack:
        out = file.out
        if path.suffix == ".gz":
            # Without a time and a name in its head: the same log always gives the same file.
            packer = gzip.GzipFile(filename="", fileobj=file.out, mode="wb", compresslevel=6, mtime=0)
            stack.callback(packer.close)
            out = cast("IO[bytes]", packer)
        try:
            count = await export(settings, out, module=module, advance=advance)
            stack.close()
        except OSError as error:
            stack.pop_all()  # what could not be written before cannot be written now
            file.refuse(error)
        file.name_it()
    return count


async def export(settings: Settings, out: IO[bytes], *, module: str | None, advance: Advance) -> int:
    """Write the log, or one module of it, as it is at one moment; gives the number of events.

    Args:
        settings: name the database, which is started if need be.
        out: gets the lines.
        module: only this one's events; None for all.
        advance: told the number of events of each chunk.
    """
    async with database_of(settings) as url:
        connection = await db.connect(url, name="cos export")
        try:
            async with connection.transaction(isolation="repeatable_read", readonly=True):
                statement, arguments = (sql.EXPORT, ()) if module is None else (sql.EXPORT_MODULE, (module,))
                rows = connection.cursor(statement, *arguments, prefetch=_FETCHED)
                return await _write(rows, out, advance)
        except _OutFailed as failed:
            raise failed.error from None  # the file's, not the connection's
        except db.LOST as error:
            raise db.connect_error(url, error) from error
        finally:
            await connection.close(timeout=5)


class _OutFailed(Exception):
    """What is written to cannot be written; kept apart from the errors of a lost connection, which are alike."""

    def __init__(self, error: OSError) -> None:
        self.error = error


async def _write(rows: Any, out: IO[bytes], advance: Advance) -> int:
    chunk = bytearray(HEADER + b"\n")
    count = told = 0
    async for row in rows:
        chunk += line_of(row) + b"\n"
        count += 1
        if len(chunk) >= _CHUNK_BYTES:
            _put(out, chunk)
            chunk.clear()
            advance(count - told)
            told = count
    _put(out, chunk + end_of(count) + b"\n")
    advance(count - told)
    return count


def _put(out: IO[bytes], chunk: bytes | bytearray) -> None:
    try:
        out.write(chunk)
        out.flush()
    except OSError as error:
        raise _OutFailed(error) from None


async def bring_in(settings: Settings, lines: Iterable[bytes], *, advance: Advance) -> dict[str, int]:
    """Record the events of an export, with the ids and times that they had; gives how many are new.

    Each is there once, however often the import is run: an event whose id or idempotency key is in the log already is
    left as it is. A batch is one transaction, so the order of the lines is the order of the positions.

    Args:
        settings: name the database, which is started if need be.
        lines: what comes after the file's first line.
        advance: told the number of events of each batch.

    Raises:
        BadInput: a line is no exported event, or the file is cut short; what stands before it is recorded.
    """
    done = {"recorded": 0, "duplicates": 0}
    async with database_of(settings) as url:
        await migrate(url)
        connection = await db.connect(url, name="cos import")
        try:
            for batch in _batches(lines):
                new = await _insert(connection, batch)
                done["recorded"] += new
                done["duplicates"] += len(batch) - new
                advance(len(batch))
        except asyncpg.DiskFullError:
            raise DiskFull(
                "The disk of Postgres is full; free some space and run the import again."
            ) from None
        except db.LOST as error:
            raise PostgresUnreachable(
                f"The connection to Postgres was lost ({error}); run the import again, it goes on where it was."
            ) from error
        finally:
            await connection.close(timeout=5)
    return done


def _batches(lines: Iterable[bytes]) -> Iterator[Sequence[tuple[NewEvent, Prompt | None]]]:
    batch: list[tuple[NewEvent, Prompt | None]] = []
    size = count = 0
    end: int | None = None
    for number, line in enumerate(lines, 2):
        if end is not None:
            raise BadInput(f"Line {number} stands after the end of the export: is it two files in one?")
        try:
            event = event_of(line)
        except CosError as error:
            end = read_end(line)
            if end is None:
                if batch:
                    yield batch
                what = "is cut off" if not line.endswith(b"\n") else f"cannot be brought in: {error.detail}"
                raise BadInput(
                    f"Line {number} {what.rstrip('.')}. What stands before it is recorded."
                ) from None
            continue
        batch.append(event)
        count += 1
        size += event[0].size
        if len(batch) >= _BATCH_EVENTS or size >= _BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
    if end is None:
        raise BadInput(
            f"The export is cut short after {count} events, which are recorded; its end is missing."
        )
    if end != count:
        raise BadInput(f"The export should hold {end} events and holds {count}, which are recorded.")


async def _insert(
    connection: asyncpg.Connection[Any], batch: Sequence[tuple[NewEvent, Prompt | None]]
) -> int:
    async with connection.transaction():
        events = [event for event, _ in batch]
        rows = await connection.fetch(sql.INSERT_MANY, *rows_of(events), timeout=_WRITE_SECONDS)
        new = {row[0] for row in rows}
        prompts = [
            (prompt.id, event.id, *(getattr(prompt, name) for name in _PROMPT_COLUMNS))
            for event, prompt in batch
            if prompt is not None and event.id in new
        ]
        if prompts:
            await connection.execute(sql.INSERT_PROMPTS, *zip(*prompts, strict=True), timeout=_WRITE_SECONDS)
    return len(new)
