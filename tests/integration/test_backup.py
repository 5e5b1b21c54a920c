"""Backup and restore of real databases: one moment, whole or not at all."""  # house: length (one subject)

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import msgspec
import pytest
from sqlalchemy.ext.asyncio import async_sessionmaker

from cos.backend.auth.grants import Grants
from cos.backend.auth.scopes import Scope
from cos.common import db
from cos.common.redis import create_redis
from cos.config import Settings, load_settings
from cos.errors import AlreadyRunning, BadBackup, BadSetting, Conflict, DiskFull, NewerDatabase, NotFound
from cos.infra.archive import ArchiveReader, ArchiveWriter
from cos.infra.folder import DataFolder
from cos.infra.postgres import EmbeddedPostgres
from cos.memory.event import PromptTrace, new_event
from cos.migrations.apply import HEAD
from cos.runtime.backup import Backup, back_up, verify
from cos.runtime.core import Core
from cos.runtime.restore import restore

#: Written by COS 0.1.0 from a database at revision 0001 with 20 records, one of them with a prompt trace.
OLD = Path(__file__).parents[1] / "data" / "backup-format-1-revision-0001.gz"
#: Written by COS 0.1.0 from a database at revision 0005 that has something of everything; its token, made for it.
LAST = Path(__file__).parents[1] / "data" / "backup-format-1-revision-0005.gz"
LAST_TOKEN = "cos_c67d4bd18ad56ed2_-zRApFlH84v0yqklWKWSvL_Xegham1vWjFin68Y-Ac8"  # noqa: S105  (opens nothing)
ROWS = """
    SELECT r.*, r.data::text AS text, p.id AS prompt_id, p.prompt, p.response
    FROM l1.record AS r LEFT JOIN l1.prompt_trace AS p ON p.record_id = r.id ORDER BY r.xact, r.seq
"""


def silent(*_: object) -> None:
    """Take progress and show nothing."""


@pytest.fixture
def given(servers, tmp_path) -> Settings:
    """Settings that name the session's Postgres."""
    return load_settings(data_dir=tmp_path / "given", database_url=servers.postgres.url, fsync=False)


@pytest.fixture
def target(tmp_path) -> Settings:
    """Settings that name a folder that is not there yet."""
    return load_settings(data_dir=tmp_path / "restored", fsync=False)


@pytest.fixture
async def filled(core) -> Core:
    """A COS with some records, one with a prompt, one with odd data."""
    for n in range(20):
        await core.recorder.record(new_event(type="row", module=f"m{n % 3}", data={"n": n}, subject=str(n)))
    await core.recorder.record(
        new_event(type="odd", module="m0", raw_data=b'{"b":1,  "a":"\\u00e9", "b":2}', idempotency_key="k")
    )
    prompt = PromptTrace(prompt="Why?", response="\x01 Because é", tokens_in=7)
    await core.recorder.record(new_event(type="asked", module="m1", prompt=prompt))
    return core


@asynccontextmanager
async def postgres_in(path: Path) -> AsyncIterator[str]:
    """Run the Postgres of a data folder; gives its URL."""
    postgres = EmbeddedPostgres(folder=DataFolder.open(path), fsync=False)
    await postgres.start()
    try:
        yield postgres.url
    finally:
        await postgres.stop()


async def rows_of(url: str) -> list[tuple]:
    connection = await asyncpg.connect(url)
    try:
        return [tuple(row) for row in await connection.fetch(ROWS)]
    finally:
        await connection.close()


async def saved(given: Settings, path: Path) -> Backup:
    return await back_up(given, path, progress=silent)


async def restored(target: Settings, path: Path) -> Backup:
    return await restore(target, path, progress=silent, step=silent)


def with_manifest(source: Path, path: Path, **changes: object) -> Path:
    """Copy a backup with another manifest."""
    with ArchiveReader(source) as old, ArchiveWriter(path) as new:
        new.begin({**old.manifest, **changes})
        for piece in old.pieces():
            new.add(piece)
        new.finish()
    return path


class TestRoundTrip:
    """What is restored is what was there."""

    async def test_every_row_and_a_generation_of_its_own(
        self, filled, given, target, tmp_path, servers, eventually, stream_of
    ) -> None:
        """Ids, positions, data to the byte, prompts; then each is announced once, in a new generation, and what is
        recorded next has a position above all that the old COS may have given out.
        """  # noqa: D205  (one sentence)
        before = await rows_of(servers.postgres.url)
        done = await saved(given, tmp_path / "a")
        after_backup = await filled.recorder.record(new_event(type="later", module="m0"))
        assert (done.records, done.manifest.revision) == (22, HEAD)
        assert msgspec.to_builtins(
            (await verify(tmp_path / "a", progress=silent)).manifest
        ) == msgspec.to_builtins(done.manifest)
        assert (await restored(target, tmp_path / "a")).records == 22
        await filled.relay_looper.stop()  # the old COS has gone; its streams stay
        assert [path.name for path in target.data_dir.glob("restoring-*")] == []
        async with postgres_in(target.data_dir) as url:
            assert await rows_of(url) == before
            await self.check_highway(
                target, url, servers.redis.url, eventually, len(before), after_backup.position
            )

    async def check_highway(self, target, url, redis_url, eventually, records, last_of_old) -> None:
        """Over the Redis that still holds the old COS's streams."""
        async with Core(settings=target, database_url=url, redis_url=redis_url) as core:
            new = await core.recorder.record(new_event(type="new", module="m0"))
            assert new.position > last_of_old

            async def all_announced():
                number = await core.streams.generation()
                lengths = [await core.redis.xlen(core.streams.key(f"m{n}", number)) for n in range(3)]
                return number == 2 and sum(lengths) == records + 1

            await eventually(all_announced)
            key = core.streams.key("m0", 2)
            ids = [json.loads(fields[b"event"])["id"] for _, fields in await core.redis.xrange(key)]
            assert len(set(ids)) == len(ids)
            assert ids[-1] == str(new.id)

    async def test_one_moment_under_load(self, core, given, target, tmp_path, servers) -> None:
        """Records that go on to be written while it is made: those in the backup are a beginning of the log."""
        stop = asyncio.Event()

        async def write() -> None:
            while not stop.is_set():
                await core.recorder.record_many(
                    [new_event(type="load", module="m", data="x" * 500) for _ in range(50)]
                )

        writers = [asyncio.create_task(write()) for _ in range(4)]
        try:
            done = await saved(given, tmp_path / "a")
        finally:
            stop.set()
            await asyncio.gather(*writers)
        every = await rows_of(servers.postgres.url)
        await restored(target, tmp_path / "a")
        async with postgres_in(target.data_dir) as url:
            kept = await rows_of(url)
        assert len(kept) == done.records < len(every)
        assert set(kept) <= set(every)

    async def test_of_a_cos_that_is_stopped(self, filled, given, target, tmp_path) -> None:
        """Its Postgres is started for the backup, and stopped again; the second backup is of the restored one."""
        await saved(given, tmp_path / "a")
        await restored(target, tmp_path / "a")
        again = await saved(target, tmp_path / "b")
        assert again.records == 22
        assert not (target.data_dir / "postgres" / "postmaster.pid").exists()
        second = load_settings(data_dir=tmp_path / "second", fsync=False)
        assert (await restored(second, tmp_path / "b")).records == 22

    async def test_from_an_older_release(self, target) -> None:
        """Its tables are brought to ours."""
        done = await restored(target, OLD)
        assert (done.manifest.cos, done.manifest.revision, done.records) == ("0.1.0", "0001", 20)
        async with postgres_in(target.data_dir) as url:
            rows = await rows_of(url)
            connection = await asyncpg.connect(url)
            assert await connection.fetchval("SELECT version_num FROM alembic_version") == HEAD
            await connection.close()
        assert len(rows) == 20
        assert rows[-1][-2:] == ("Why?", "Because.")

    async def test_from_the_release_before(self, target) -> None:
        """All that it held is there and works: records, token, webhook, note, the paused projection."""
        done = await restored(target, LAST)
        assert (done.manifest.cos, done.manifest.revision, done.records) == ("0.1.0", "0005", 17)
        async with postgres_in(target.data_dir) as url:
            rows = await rows_of(url)
            connection = await asyncpg.connect(url)
            counts = {
                name: await connection.fetchval(f"SELECT count(*) FROM {name}")  # noqa: S608  # house: sql (of ours)
                for name in done.manifest.tables
                if name != "public.alembic_version"
            }
            assert await connection.fetchval("SELECT version_num FROM alembic_version") == HEAD
            assert await connection.fetchval("SELECT state FROM highway.projection") == "paused"
            assert await connection.fetchval("SELECT content FROM cc.scratch_note") == "a thought"
            await connection.close()
            engine = db.create_engine(url, pool_size=1)
            grants = Grants(sessions=async_sessionmaker(engine, expire_on_commit=False))
            grant = await grants.of_token(LAST_TOKEN)
            await engine.dispose()
        assert grant is not None
        assert (grant.name, grant.scope) == ("the boss", Scope.ADMIN)
        held = {name: count for name, count in done.manifest.tables.items() if name in counts}
        assert counts == held | {"l1.generation": counts["l1.generation"]}  # a restore begins one
        asked = next(row for row in rows if "Why?" in row)
        assert asked[-2:] == ("Why?", "Because.")
        assert next(row for row in rows if "odd" in row)[-4] == '{"b":1,  "a":"\\u00e9", "b":2}'

    async def test_of_a_cluster_far_ahead(self, filled, given, target, tmp_path, servers) -> None:
        """Transaction ids beyond 32 bits: raised in steps, and all rows are still read."""
        await saved(given, tmp_path / "a")
        far = 2**32 + 12_345
        await restored(target, with_manifest(tmp_path / "a", tmp_path / "far", next_transaction=far))
        async with postgres_in(target.data_dir) as url:
            assert await rows_of(url) == await rows_of(servers.postgres.url)
            connection = await asyncpg.connect(url)
            assert await connection.fetchval("SELECT pg_current_xact_id()::text::bigint") > far
            await connection.close()


class TestRefusals:
    """What cannot be done leaves everything as it was."""

    @pytest.fixture
    async def file(self, filled, given, tmp_path) -> Path:
        await saved(given, tmp_path / "a")
        return tmp_path / "a"

    async def test_nothing_to_back_up(self, target, tmp_path) -> None:
        with pytest.raises(NotFound, match="no database in"):
            await saved(target, tmp_path / "a")
        assert not (tmp_path / "a").exists()

    async def test_a_folder_with_a_database(self, file, target) -> None:
        """It is refused, and its database is as it was."""
        await restored(target, file)
        marks = (target.data_dir / "postgres" / "global" / "pg_control").stat()
        with pytest.raises(Conflict, match="There is a database in"):
            await restored(target, file)
        assert (
            target.data_dir / "postgres" / "global" / "pg_control"
        ).stat().st_mtime_ns == marks.st_mtime_ns

    async def test_a_folder_in_use(self, file, target) -> None:
        folder = DataFolder.open(target.data_dir)
        with folder.lock({"since": "today"}), pytest.raises(AlreadyRunning, match="since today"):
            await restored(target, file)

    async def test_a_given_database(self, file, given) -> None:
        with pytest.raises(BadSetting, match="COS_DATABASE_URL"):
            await restored(given, file)

    async def test_a_newer_one_or_none_of_ours(self, file, target, tmp_path) -> None:
        """Before anything is made."""
        with pytest.raises(NewerDatabase, match="revision 9999"):
            await restored(target, with_manifest(file, tmp_path / "b", revision="9999"))
        with pytest.raises(BadBackup, match="no tables of COS"):
            await restored(target, with_manifest(file, tmp_path / "c", revision=None))
        with pytest.raises(BadBackup, match="manifest cannot be understood"):
            await restored(target, with_manifest(file, tmp_path / "d", tables=[1]))
        assert not target.data_dir.exists()

    async def test_damaged(self, file, target, tmp_path) -> None:
        """Found at its end at the latest, whatever was loaded by then; nothing of it is left."""
        whole = file.read_bytes()
        for bad in (whole[: len(whole) // 2], whole.replace(b"Because", b"bECAUSE"), whole[:-20_000]):
            (tmp_path / "bad").write_bytes(bad)
            with pytest.raises(BadBackup, match=r"cut short|damaged|could not be restored"):
                await restored(target, tmp_path / "bad")
            with pytest.raises(BadBackup):
                await verify(tmp_path / "bad", progress=silent)
            assert not (target.data_dir / "postgres").exists()
            assert list(target.data_dir.glob("restoring-*")) == []

    async def test_rows_that_are_missing(self, file, target, tmp_path) -> None:
        """A dump that restores without a complaint must still hold what was counted."""
        tables = {"l1.nowhere": 0, "l1.record": 23}
        with pytest.raises(BadBackup, match="22 rows instead of 23"):
            await restored(target, with_manifest(file, tmp_path / "b", tables=tables))

    async def test_what_is_no_dump(self, file, target, tmp_path) -> None:
        """Whole by its checksums, and still nothing that Postgres can restore: its words."""
        with ArchiveReader(file) as old, ArchiveWriter(tmp_path / "b") as new:
            new.begin(old.manifest)
            new.add(b"no dump at all" * 1000)
            new.finish()
        with pytest.raises(BadBackup, match="could not be restored: did not find magic string"):
            await restored(target, tmp_path / "b")

    async def test_a_full_disk(self, filled, given, tmp_path, monkeypatch) -> None:
        """While the pieces are written: nothing is left, and the database goes on."""
        path = tmp_path / "a"

        def fill(archive: ArchiveWriter, piece: bytes) -> None:
            raise DiskFull

        monkeypatch.setattr(ArchiveWriter, "add", fill)
        with pytest.raises(DiskFull):
            await saved(given, path)
        assert list(tmp_path.glob("a*")) == []
        assert await filled.recorder.record(new_event(type="on", module="m"))


class TestKilled:
    """`kill -9` and Ctrl-C, of the command itself."""

    @pytest.fixture
    def command(self, servers, tmp_path) -> Callable[..., subprocess.Popen]:
        environment = {n: v for n, v in os.environ.items() if not n.startswith(("COS_", "PYTHONDONTWRITE"))}
        environment["COS_FSYNC"] = "false"

        def start(*arguments: str, **settings: str) -> subprocess.Popen:
            return subprocess.Popen(
                [sys.executable, "-m", "cos.cli.main", *arguments],
                env=environment | settings,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )

        return start

    async def big(self, servers) -> None:
        connection = await asyncpg.connect(servers.postgres.url)
        await connection.execute(
            """
            INSERT INTO l1.record (id, module, type, level, data, time, recorded_at)
            SELECT gen_random_uuid(), 'm', 't', 'info', to_json(repeat(md5(n::text), 400)), now(), now()
            FROM generate_series(1, 4000) AS n
            """
        )
        await connection.close()

    @pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
    async def test_a_backup(self, clean, servers, command, tmp_path, eventually, number) -> None:
        """No file of that name, no program left; the next run makes it whole."""
        await self.big(servers)
        path = tmp_path / "a"
        run = command("backup", str(path), COS_DATABASE_URL=servers.postgres.url)

        async def is_being_written():
            part = tmp_path / "a.part"
            return (part.exists() and part.stat().st_size > 1_000_000) or run.poll() is not None

        await eventually(is_being_written)
        run.send_signal(number)
        _, said = await asyncio.to_thread(run.communicate, timeout=60)
        assert "Traceback" not in said
        assert run.returncode == (130 if number == signal.SIGINT else -number)
        assert not path.exists()
        assert (tmp_path / "a.part").exists() == (number == signal.SIGKILL)
        again = command("backup", str(path), "--json", COS_DATABASE_URL=servers.postgres.url)
        out, said = await asyncio.to_thread(again.communicate, timeout=60)
        assert again.returncode == 0, said
        assert json.loads(out)["tables"]["l1.record"] == 4000
        assert not (tmp_path / "a.part").exists()

    @pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
    async def test_a_restore(self, clean, servers, given, command, tmp_path, eventually, number) -> None:
        """No database in the folder and no server left; the next run clears up and makes it whole."""
        await self.big(servers)
        await saved(given, tmp_path / "a")
        target = tmp_path / "target"
        run = command("restore", str(tmp_path / "a"), "--data-dir", str(target))

        async def has_begun():
            return list(target.glob("restoring-*/postgres/postmaster.pid")) or run.poll() is not None

        await eventually(has_begun)
        run.send_signal(number)
        _, said = await asyncio.to_thread(run.communicate, timeout=60)
        assert "Traceback" not in said
        assert run.returncode == (130 if number == signal.SIGINT else -number)
        assert not (target / "postgres").exists()
        again = command("restore", str(tmp_path / "a"), "--data-dir", str(target), "--json")
        out, said = await asyncio.to_thread(again.communicate, timeout=120)
        assert again.returncode == 0, said
        assert json.loads(out)["tables"]["l1.record"] == 4000
        assert list(target.glob("restoring-*")) == []


class TestGivenServers:
    """A Postgres that somebody else runs."""

    async def test_an_extension_that_we_do_not_bring(
        self, filled, given, target, tmp_path, pg, monkeypatch
    ) -> None:
        """It is left out, and the backup says so."""
        monkeypatch.setattr("cos.runtime.backup.KNOWN_EXTENSIONS", ("plpgsql",))
        await pg.execute("CREATE EXTENSION vector")
        try:
            done = await saved(given, tmp_path / "a")
        finally:
            await pg.execute("DROP EXTENSION vector")
        assert done.manifest.extensions_left_out == ["vector"]
        await restored(target, tmp_path / "a")
        async with postgres_in(target.data_dir) as url:
            connection = await asyncpg.connect(url)
            assert (
                await connection.fetchval("SELECT count(*) FROM pg_extension WHERE extname = 'vector'") == 0
            )
            await connection.close()

    async def test_redis_is_not_needed(self, filled, given, tmp_path, servers) -> None:
        """The truth is in Postgres; the streams are filled from it."""
        client = create_redis(servers.redis.url)
        await client.flushall()
        await client.aclose()
        assert (await saved(given, tmp_path / "a")).records == 22
