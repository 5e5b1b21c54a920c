"""What `cos doctor` says of a database."""

from __future__ import annotations

import asyncpg
import pytest

from cos.migrations.apply import HEAD
from cos.runtime.doctor import _database


@pytest.fixture
async def database(servers):
    """A database of its own, at our revision; gives its URL."""
    name, admin = "doctor_patient", await asyncpg.connect(servers.postgres.url)
    await admin.execute(f"DROP DATABASE IF EXISTS {name}")  # house: sql (the name is ours)
    await admin.execute(f"CREATE DATABASE {name}")  # house: sql (the name is ours)
    url = servers.postgres.url.replace("/cos?", f"/{name}?")
    patient = await asyncpg.connect(url)
    await patient.execute("CREATE TABLE alembic_version (version_num text)")
    await patient.execute("INSERT INTO alembic_version VALUES ($1)", HEAD)
    await patient.close()
    yield url
    await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")  # house: sql (the name is ours)
    await admin.close()


async def test_a_healthy_one(database) -> None:
    assert [(one.check, one.ok) for one in await _database(database)] == [("database", True)]


async def test_an_extension_whose_files_are_gone(database) -> None:
    """It is named, with what to do: it would fail only where it is used."""
    patient = await asyncpg.connect(database)
    await patient.execute("UPDATE pg_extension SET extname = 'gone' WHERE extname = 'plpgsql'")
    await patient.close()
    found = {one.check: one for one in await _database(database)}
    assert not found["extensions"].ok
    assert found["extensions"].found.startswith("gone is used by the database")
    assert found["extensions"].advice


async def test_an_older_one(database) -> None:
    patient = await asyncpg.connect(database)
    await patient.execute("UPDATE alembic_version SET version_num = '0001'")
    await patient.close()
    [found] = await _database(database)
    assert (found.ok, found.advice) == (False, "restart COS to migrate it")


async def test_one_that_is_not_there() -> None:
    [found] = await _database("postgresql://cos@127.0.0.1:1/none")
    assert (found.check, found.ok) == ("database", False)
    assert "127.0.0.1:1" in found.advice
