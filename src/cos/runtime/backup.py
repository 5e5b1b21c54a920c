"""`cos backup` and `cos verify`: the whole database as one file, while COS goes on working."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import asyncpg
import msgspec

import cos
from cos.common import clock, db
from cos.errors import BadBackup, NotFound
from cos.infra.archive import ArchiveReader, ArchiveWriter
from cos.infra.cluster import cluster_exists
from cos.infra.dump import KNOWN_EXTENSIONS, SESSION, Dump, give_way
from cos.infra.folder import DataFolder
from cos.infra.postgres import EmbeddedPostgres
from cos.infra.tunnel import plain_way
from cos.memory import sql
from cos.runtime.detach import running_process

if TYPE_CHECKING:
    from pathlib import Path

    from cos.config import Settings

_COUNT_SECONDS = 3600.0
_MOST_TRANSACTIONS = 1 << 44  # a thousand a second for five centuries
#: How long the copying rests after each piece, as a share of what the piece took: the disk is not its alone.
REST_SHARE = 0.2

#: Told how many bytes are done, and of how many, as far as that can be known.
Progress = Callable[[int, int], None]


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What a backup says of itself.

    Attributes:
        cos: version that wrote it.
        created_at: when, RFC 3339.
        postgres: version of the server.
        revision: of the tables; None where there were none of COS.
        database: the cluster and database that it is of.
        next_transaction: the first transaction id that no row in it has.
        tables: the number of rows of each.
        extensions_left_out: what a given server had and the embedded one does not bring.
    """

    cos: str
    created_at: str
    postgres: str
    revision: str | None
    database: str
    next_transaction: Annotated[int, msgspec.Meta(ge=3, le=_MOST_TRANSACTIONS)]
    tables: dict[str, int]
    extensions_left_out: list[str] = []


@dataclass(frozen=True, slots=True, kw_only=True)
class Backup:
    """A backup file, and what it holds.

    Attributes:
        path: of the file.
        file_bytes: its size.
        database_bytes: of the dump in it.
        manifest: what it says of itself.
    """

    path: Path
    file_bytes: int
    database_bytes: int
    manifest: Manifest

    @property
    def records(self) -> int:
        """How many records of the log are in it."""
        return self.manifest.tables.get("l1.record", 0)


def manifest_of(archive: ArchiveReader) -> Manifest:
    """Read what a backup says of itself; raises BadBackup when that cannot be understood."""
    try:
        return msgspec.convert(archive.manifest, Manifest)
    except msgspec.ValidationError as error:
        raise BadBackup(f"{archive.path} is damaged: its manifest cannot be understood ({error}).") from None


async def back_up(settings: Settings, path: Path, *, progress: Progress) -> Backup:
    """Write the database of a COS, running or not, to a new file.

    It is one moment's state, whatever is written meanwhile. The reading gives way to everything else that the machine
    does. COS need not run: its Postgres is then started for as long as it takes.

    Raises:
        NotFound: there is no database in the data folder.
        Conflict: the file exists already.
        DiskFull, FolderNotWritable: the file cannot be written.
        CosError: Postgres cannot be used; in words.
    """
    async with database_of(settings) as url, plain_way(url) as dump_url:
        connection = await db.connect(url, name="cos backup snapshot")
        try:
            async with connection.transaction(isolation="repeatable_read", readonly=True):
                snapshot: str = await connection.fetchval("SELECT pg_export_snapshot()")
                manifest, expected_bytes = await _describe(connection)
                with ArchiveWriter(path) as archive:
                    archive.begin(msgspec.to_builtins(manifest))
                    left_out = manifest.extensions_left_out
                    with Dump(dump_url, snapshot=snapshot, leave_out=left_out) as dump:
                        done = await _copied(dump, archive, expected_bytes, connection, progress)
                    size = await asyncio.to_thread(archive.finish)
        finally:
            await connection.close(timeout=5)
    return Backup(path=path, file_bytes=size, database_bytes=done, manifest=manifest)


async def verify(path: Path, *, progress: Progress) -> Backup:
    """Read a backup to its end and prove every byte of it.

    Raises:
        BadBackup: it is damaged, cut short or no backup.
        NotFound: there is no such file.
    """

    def read() -> Backup:
        with ArchiveReader(path) as archive:
            manifest = manifest_of(archive)
            total = 0
            for piece in archive.pieces():
                total += len(piece)
                progress(archive.bytes_read, archive.size)
            return Backup(path=path, file_bytes=archive.size, database_bytes=total, manifest=manifest)

    return await asyncio.to_thread(read)


@asynccontextmanager
async def database_of(settings: Settings) -> AsyncIterator[str]:
    """Give the URL of the database that a COS with these settings uses, starting the embedded one if need be.

    Raises:
        NotFound: there is none yet.
    """
    if settings.database_url is not None:
        yield settings.database_url.get_secret_value()
        return
    folder = DataFolder.open(settings.data_dir)
    run = folder.read_run()
    if run is not None and running_process(run) is not None:
        yield str(run["postgres"]["url"])
        return
    if not cluster_exists(folder.postgres):
        raise NotFound(f"There is no database in {folder.path}; name the data folder with --data-dir.")
    with folder.lock({"since": clock.now().isoformat()}):
        postgres = EmbeddedPostgres(folder=folder, fsync=settings.fsync)
        try:
            await postgres.start()
            yield postgres.url
        finally:
            await postgres.stop()


async def _describe(connection: asyncpg.Connection[Any]) -> tuple[Manifest, int]:
    """Say what is backed up, and about how many bytes that will be."""
    tables = await connection.fetch(sql.ALL_TABLES)
    counts = {}
    for one in tables:
        count = f"SELECT count(*) FROM {one['quoted']}"  # noqa: S608  (quoted by Postgres itself)
        rows = await connection.fetchval(count, timeout=_COUNT_SECONDS)  # house: sql (as above)
        counts[one["name"]] = rows
    revision = None
    if "public.alembic_version" in counts:
        revision = await connection.fetchval("SELECT version_num FROM public.alembic_version")
    extensions = [
        row[0] for row in await connection.fetch("SELECT extname FROM pg_extension ORDER BY extname")
    ]
    manifest = Manifest(
        cos=cos.__version__,
        created_at=clock.now().isoformat(),
        postgres=(await connection.fetchval("SHOW server_version")).split()[0],
        revision=revision,
        database=await connection.fetchval(sql.DATABASE_IDENTITY),
        next_transaction=await connection.fetchval(sql.NEXT_TRANSACTION),
        tables=counts,
        extensions_left_out=[name for name in extensions if name not in KNOWN_EXTENSIONS],
    )
    return manifest, sum(one["bytes"] for one in tables)


async def _copied(
    dump: Dump,
    archive: ArchiveWriter,
    expected_bytes: int,
    connection: asyncpg.Connection[Any],
    progress: Progress,
) -> int:
    give_way(dump.process.pid)
    renice = asyncio.create_task(_let_backends_give_way(connection), name="backup:give-way")
    copying = asyncio.create_task(asyncio.to_thread(_copy, dump, archive, expected_bytes, progress))
    try:
        return await asyncio.shield(copying)
    finally:
        dump.end()  # its reader, if there still is one, finds the end
        with contextlib.suppress(BaseException):
            await copying
        renice.cancel()
        await asyncio.wait([renice])


def _copy(dump: Dump, archive: ArchiveWriter, expected_bytes: int, progress: Progress) -> int:
    give_way(threading.get_native_id())
    done = 0
    began = clock.monotonic()
    for piece in dump:
        archive.add(piece)
        done += len(piece)
        progress(done, max(expected_bytes, done))
        time.sleep((clock.monotonic() - began) * REST_SHARE)
        began = clock.monotonic()
    return done


async def _let_backends_give_way(connection: asyncpg.Connection[Any]) -> None:
    """Lower the priority of the server's process that reads for us, once it is there."""
    for _ in range(100):
        rows = await connection.fetch(sql.BACKENDS_NAMED, SESSION)
        for row in rows:
            give_way(row[0])
        if rows:
            return
        await asyncio.sleep(0.02)
