"""`cos export events` and back: the same file again, whatever was in the log."""

from __future__ import annotations

import gzip
import io
import os
import stat
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import asyncpg
import psycopg
import pytest

from cos.config import Settings, load_settings
from cos.errors import BadInput, Conflict, DiskFull, FolderNotWritable, NotFound, PostgresUnreachable
from cos.infra.newfile import NewFile
from cos.memory.event import PromptTrace, new_event
from cos.memory.exchange import HEADER
from cos.migrations.apply import migrate
from cos.runtime.core import Core
from cos.runtime.exchange import bring_in, export, export_to_file

KILL = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'cos import'"


def silent(_count: int) -> None:
    """Take progress and show nothing."""


@pytest.fixture
def given(servers, tmp_path) -> Settings:
    return load_settings(data_dir=tmp_path / "data", database_url=servers.postgres.url)


@pytest.fixture
async def other(servers, pg, tmp_path) -> AsyncIterator[Settings]:
    """Settings of an empty COS, in a database of its own."""
    name = f"other_{uuid.uuid4().hex}"
    await pg.execute(f"CREATE DATABASE {name}")  # house: sql (the name is ours)
    url = servers.postgres.url.replace("/cos?", f"/{name}?")
    yield load_settings(data_dir=tmp_path / "other", database_url=url)
    await pg.execute(f"DROP DATABASE {name} WITH (FORCE)")  # house: sql (the name is ours)


@pytest.fixture
async def filled(core) -> Core:
    """A COS with events of every kind."""
    for n in range(250):
        await core.recorder.record(new_event(type="row", module=f"m{n % 3}", data={"n": n}, subject=f"ä{n}"))
    odd = [
        b' {"b": 1,\n "a": "\\u00e9",\r\n "b": 1e30} ',
        b"0.10",
        b'"line\\nbreak"',
        b"[ ]",
        '"é\u2028"'.encode(),
    ]
    for raw in odd:
        await core.recorder.record(new_event(type="odd", module="m0", raw_data=raw))
    everything = new_event(
        type="asked",
        module="m1",
        level="warning",
        request_id="r",
        trace_id="t",
        traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        time=datetime(1999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
        idempotency_key="k",
        prompt=PromptTrace(
            prompt="Why?\n\x01", response="é", model="m", latency_ms=1, tokens_in=2, tokens_out=3
        ),
    )
    await core.recorder.record(everything)
    await core.recorder.record(new_event(type="asked", module="m1", prompt=PromptTrace()))
    return core


async def exported(settings: Settings, module: str | None = None) -> bytes:
    out = io.BytesIO()
    count = await export(settings, out, module=module, advance=silent)
    lines = out.getvalue().splitlines(keepends=True)
    assert lines[0].strip() == HEADER
    assert len(lines) == count + 2
    return out.getvalue()


async def brought(settings: Settings, content: bytes) -> dict[str, int]:
    return await bring_in(settings, io.BytesIO(content.removeprefix(HEADER + b"\n")), advance=silent)


class TestRoundTrip:
    """Out, into an empty COS, and out again."""

    async def test_to_the_byte(self, filled, given, other) -> None:
        """The same file; brought in again, nothing is new; and nothing is there twice."""
        first = await exported(given)
        assert await brought(other, first) == {"recorded": 257, "duplicates": 0}
        assert await exported(other) == first
        assert await brought(other, first) == {"recorded": 0, "duplicates": 257}
        assert await brought(given, first) == {"recorded": 0, "duplicates": 257}
        assert await exported(other) == first

    async def test_an_empty_log(self, clean, given, other) -> None:
        empty = await exported(given)
        assert empty == HEADER + b'\n{"end":0}\n'
        assert await brought(other, empty) == {"recorded": 0, "duplicates": 0}

    async def test_one_module(self, filled, given) -> None:
        """Only its events, in their order."""
        found = await exported(given, "m1")
        assert found.count(b'"module":"m1"') == len(found.splitlines()) - 2 == 85

    async def test_files(self, filled, given, tmp_path) -> None:
        """Private, packed by name, the same bytes each time; never over a file that is there."""
        for name in ("a.jsonl", "b.jsonl", "a.jsonl.gz", "b.jsonl.gz"):
            assert await export_to_file(given, tmp_path / name, module=None, advance=silent) == 257
        plain, packed = (tmp_path / "a.jsonl").read_bytes(), (tmp_path / "a.jsonl.gz").read_bytes()
        assert (
            plain == (tmp_path / "b.jsonl").read_bytes() == gzip.decompress(packed) == await exported(given)
        )
        assert packed == (tmp_path / "b.jsonl.gz").read_bytes()
        assert stat.S_IMODE((tmp_path / "a.jsonl").stat().st_mode) == 0o600
        with pytest.raises(Conflict, match="already a file"):
            await export_to_file(given, tmp_path / "a.jsonl", module=None, advance=silent)
        with pytest.raises(FolderNotWritable, match="no such file"):
            await export_to_file(given, tmp_path / "nowhere" / "a", module=None, advance=silent)

    async def test_no_database(self, tmp_path) -> None:
        """A folder without one is told so, and no file is left."""
        nobody = load_settings(data_dir=tmp_path / "nobody")
        with pytest.raises(NotFound, match="no database"):
            await export_to_file(nobody, tmp_path / "a", module=None, advance=silent)
        assert not list(tmp_path.glob("a*"))

    async def test_what_is_brought_in_is_announced(self, filled, given, core, eventually, pg) -> None:
        """A running relay takes it up like any other record."""
        content = await exported(given)
        await pg.execute("TRUNCATE l1.record, l1.prompt_trace")
        await core.redis.flushall()
        await brought(given, content)

        async def all_there():
            number = await core.streams.generation()
            keys = [core.streams.key(f"m{n}", number) for n in range(3)] if number else []
            return sum([await core.redis.xlen(key) for key in keys]) == 257

        await eventually(all_there)


class TestBadFiles:
    """What is no whole export is told, and what was good of it is recorded."""

    async def test_cut_short(self, filled, given, other) -> None:
        """Between two lines, within one, or before its end; run again with the whole file, it is whole."""
        content = await exported(given)
        lines = content.splitlines(keepends=True)
        for cut, said in (
            (b"".join(lines[:100]), "cut short after 99"),
            (content[:-40], "cut off"),
            (b"", "after 0"),
        ):
            with pytest.raises(BadInput, match=said):
                await brought(other, cut)
        with pytest.raises(BadInput, match="should hold 257 events and holds 256"):
            await brought(other, b"".join([*lines[:50], *lines[51:]]))
        with pytest.raises(BadInput, match="stands after the end"):
            await brought(other, content + content)
        await brought(other, content)

    async def test_a_line_that_is_none(self, filled, given, other) -> None:
        """Its number; what stands before it is recorded."""
        lines = (await exported(given)).splitlines(keepends=True)
        lines[10] = b'{"type": "mine"}\n'
        with pytest.raises(BadInput, match=r"Line 11 cannot be brought in: .* before it is recorded"):
            await brought(other, b"".join(lines))
        connection = await asyncpg.connect(other.database_url.get_secret_value())
        assert await connection.fetchval("SELECT count(*) FROM l1.record") == 9
        await connection.close()

    async def test_a_key_that_another_event_has(self, core, given, other) -> None:
        """The event that was there first stays; the other counts as recorded before."""
        await core.recorder.record(new_event(type="mine", module="m", idempotency_key="same"))
        content = await exported(given)
        await migrate(other.database_url.get_secret_value())
        await brought(other, content.replace(b'"id":"0', b'"id":"1'))
        assert await brought(other, content) == {"recorded": 0, "duplicates": 1}

    async def test_postgres_goes_away(self, filled, given, pg, servers, monkeypatch) -> None:
        """Between two batches: in words, with what to do; then it goes on where it was."""
        content = await exported(given)
        await pg.execute("TRUNCATE l1.record, l1.prompt_trace")
        monkeypatch.setattr("cos.runtime.exchange._BATCH_EVENTS", 50)

        def lines():
            for number, line in enumerate(content.splitlines(keepends=True)[1:]):
                if number == 120:
                    with psycopg.connect(servers.postgres.url) as connection:
                        connection.execute(KILL)
                yield line

        with pytest.raises(PostgresUnreachable, match="run the import again"):
            await bring_in(given, lines(), advance=silent)
        assert await brought(given, content) == {"recorded": 157, "duplicates": 100}

    async def test_a_full_disk(self, filled, given, tmp_path, monkeypatch) -> None:
        """While it is written, packed or not: in words, and no file is left."""

        def fill(self: NewFile, path: Path) -> None:
            real(self, path)
            full = os.open("/dev/full", os.O_WRONLY)
            os.dup2(full, self.out.fileno())
            os.close(full)

        real = NewFile.__init__
        monkeypatch.setattr(NewFile, "__init__", fill)
        for name in ("a", "a.gz"):
            with pytest.raises(DiskFull, match="was not written"):
                await export_to_file(given, tmp_path / name, module=None, advance=silent)
        assert list(tmp_path.glob("a*")) == []
