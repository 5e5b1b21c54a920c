"""`cos restore`: a backup becomes the database of a data folder, whole or not at all."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import asyncpg

from cos.common import clock, db
from cos.errors import AlreadyRunning, BadBackup, BadSetting, Conflict, NewerDatabase
from cos.infra.archive import ArchiveReader
from cos.infra.cluster import cluster_exists, sync_cluster
from cos.infra.dump import Load
from cos.infra.folder import DataFolder
from cos.infra.postgres import EmbeddedPostgres
from cos.infra.transactions import set_next, steps_to
from cos.memory import sql
from cos.migrations.apply import REVISIONS, migrate
from cos.runtime.backup import Backup, Manifest, Progress, manifest_of

if TYPE_CHECKING:
    from cos.config import Settings

PREFIX: Final = "restoring-"
_FREEZE_SECONDS: Final = 3600.0

Step = Callable[[str], None]


async def restore(settings: Settings, path: Path, *, progress: Progress, step: Step) -> Backup:
    """Make the database of a data folder from a backup; the folder must not have one.

    It is built beside its place and put there as the last step, so whatever interrupts it, the folder has no database
    or a complete one. The highway begins a new generation when COS starts on it, for it is another database than the
    one that was backed up; its positions go on above all that the other one may have given out.

    Args:
        settings: name the folder.
        path: of the backup.
        progress: told the bytes of the file that are done.
        step: told one line a step.

    Raises:
        BadBackup: the file is damaged, cut short or no backup; nothing is left of what was begun.
        NewerDatabase: a newer COS wrote it.
        Conflict: the folder has a database.
        AlreadyRunning: a COS runs in the folder.
        DiskFull: there is no room.
    """
    if settings.database_url is not None:
        raise BadSetting(
            "A backup is restored into a data folder, not into COS_DATABASE_URL: unset it and name a folder with "
            "--data-dir."
        )
    with ArchiveReader(path) as archive:  # before the folder is made: a wrong file leaves no trace
        manifest = manifest_of(archive)
        check_revision(manifest)
        folder = DataFolder.open(settings.data_dir)
        with folder.lock({"since": clock.now().isoformat()}):
            if cluster_exists(folder.postgres):
                raise Conflict(
                    f"There is a database in {folder.path} already: move the folder away, or name another with "
                    "--data-dir."
                )
            clear_unfinished(folder)
            with _building(folder) as building:
                read = await _build(
                    building, archive, manifest, fsync=settings.fsync, progress=progress, step=step
                )
                if folder.postgres.exists():
                    folder.postgres.rmdir()  # empty, or it would count as a cluster
                (building.path / "postgres").rename(folder.postgres)
    return Backup(path=path, file_bytes=archive.size, database_bytes=read, manifest=manifest)


async def mend_positions(settings: Settings) -> list[str]:
    """Let the Postgres of a COS that is stopped go on above the transactions of its rows; gives what was done.

    Rows that another program brought here from another cluster (a dump) may be of transactions that this one has not
    reached. They could not be announced, and their positions would come again.
    """
    if settings.database_url is not None or not settings.data_dir.expanduser().is_dir():
        return []
    folder = DataFolder.open(settings.data_dir)
    try:
        lock = folder.lock({"since": clock.now().isoformat()})
    except AlreadyRunning:
        return []
    postgres = EmbeddedPostgres(folder=folder, fsync=settings.fsync)
    with lock:
        try:
            if not cluster_exists(folder.postgres):
                return []
            await postgres.start()
            highest = await _highest_of_the_future(postgres.url)
            if highest is None:
                return []
            await _go_on_above(postgres, folder, highest)
        finally:
            await postgres.stop()
    return [f"The transaction ids of {folder.postgres} go on above those of its rows now"]


async def _highest_of_the_future(url: str) -> int | None:
    connection = await db.connect(url, name="cos doctor")
    try:
        highest: int | None = await connection.fetchval(sql.HIGHEST_OF_THE_FUTURE)
    except asyncpg.UndefinedTableError:
        return None  # COS has not made its tables here yet
    finally:
        await connection.close(timeout=5)
    return highest


def check_revision(manifest: Manifest) -> None:
    """Raise NewerDatabase or BadBackup when this COS cannot bring the backup's tables to its own."""
    if manifest.revision in REVISIONS:
        return
    if manifest.revision is not None:
        raise NewerDatabase(
            f"The backup is at revision {manifest.revision[:40]}, which this COS does not know; it was written by "
            f"a newer COS ({manifest.cos[:40]}): install that one (pip install --upgrade cos)."
        )
    raise BadBackup("The backup holds no tables of COS.")


def clear_unfinished(folder: DataFolder) -> list[Path]:
    """Remove what restores that were killed have left; the folder's lock must be ours."""
    found = list(folder.path.glob(f"{PREFIX}*"))
    for old in found:
        shutil.rmtree(old, ignore_errors=True)
    return found


@contextlib.contextmanager
def _building(folder: DataFolder) -> Any:
    place = Path(tempfile.mkdtemp(prefix=PREFIX, dir=folder.path))
    building = DataFolder.open(place)
    try:
        yield building
    finally:
        shutil.rmtree(place, ignore_errors=True)
        if not building.sockets.is_relative_to(place):
            shutil.rmtree(building.sockets, ignore_errors=True)


async def _build(
    folder: DataFolder,
    archive: ArchiveReader,
    manifest: Manifest,
    *,
    fsync: bool,
    progress: Progress,
    step: Step,
) -> int:
    # Without waiting for the disk: what is half done is thrown away in any case, and one sync at the end is quicker.
    postgres = EmbeddedPostgres(folder=folder, fsync=False, progress=step)
    try:
        await postgres.start()
        read = await _load(postgres.url, archive, progress)
        step("Checking what was restored …")
        await _compare(postgres.url, manifest)
        await migrate(postgres.url)
        await _go_on_above(postgres, folder, manifest.next_transaction)
    finally:
        await postgres.stop()
    if fsync:
        await sync_cluster(folder.postgres)
    return read


async def _load(url: str, archive: ArchiveReader, progress: Progress) -> int:
    done = 0

    def counted() -> Any:
        nonlocal done
        for piece in archive.pieces():
            done += len(piece)
            yield piece
            progress(archive.bytes_read, archive.size)

    with Load(url) as load:
        feeding = asyncio.create_task(asyncio.to_thread(load.feed, counted()))
        try:
            await asyncio.shield(feeding)
        except asyncio.CancelledError:
            load.end()
            with contextlib.suppress(Exception):
                await feeding
            raise
    return done


async def _compare(url: str, manifest: Manifest) -> None:
    """Prove that each table has the rows that it had; and let the planner know the tables."""
    connection = await db.connect(url, name="cos restore")
    try:
        for name, wanted in manifest.tables.items():
            schema, _, table = name.partition(".")
            quoted = await connection.fetchval("SELECT format('%I.%I', $1::text, $2::text)", schema, table)
            count = f"SELECT count(*) FROM {quoted}"  # noqa: S608  (quoted by Postgres itself)
            try:
                found = await connection.fetchval(count, timeout=_FREEZE_SECONDS)  # house: sql (as above)
            except asyncpg.UndefinedTableError:
                found = 0
            if found != wanted:
                raise BadBackup(
                    f"The backup could not be restored: {name} has {found} rows instead of {wanted}."
                )
    finally:
        await connection.close(timeout=5)


async def _go_on_above(postgres: EmbeddedPostgres, folder: DataFolder, beyond: int) -> None:
    """Raise the cluster's transaction ids above those of the rows it was given."""
    for following in steps_to(await _freeze(postgres.url), beyond):
        await postgres.stop()
        await set_next(folder.postgres, following)
        await postgres.start()
        await _freeze(postgres.url)


async def _freeze(url: str) -> int:
    """Free every row of the cluster from the id that wrote it; gives the next id."""
    connection = await db.connect(url, name="cos restore")
    try:
        # The one database that nobody may enter has rows too, and an age that counts.
        await connection.execute("ALTER DATABASE template0 ALLOW_CONNECTIONS true")
        names = [row[0] for row in await connection.fetch("SELECT datname FROM pg_database ORDER BY datname")]
        for name in names:
            inside = await db.connect(url.replace("/cos?", f"/{name}?"), name="cos restore")
            try:
                await inside.execute("VACUUM (FREEZE, ANALYZE)", timeout=_FREEZE_SECONDS)
            finally:
                await inside.close(timeout=5)
        await connection.execute("ALTER DATABASE template0 ALLOW_CONNECTIONS false")
        return int(await connection.fetchval(sql.NEXT_TRANSACTION))
    finally:
        await connection.close(timeout=5)
