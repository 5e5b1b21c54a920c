"""Real servers in temporary folders, and the patience to wait for what they do."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import time
from typing import TYPE_CHECKING

import psutil
import pytest

from cos.infra.folder import DataFolder
from cos.infra.postgres import EmbeddedPostgres
from cos.infra.redis import EmbeddedRedis

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
    from pathlib import Path


@pytest.fixture(scope="session")
def eventually() -> Callable[..., Awaitable[None]]:
    """Poll a condition until it holds; fail after `seconds`."""

    async def wait(condition: Callable[[], object], seconds: float = 15.0) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, f"it never came true: {condition}"
            await asyncio.sleep(0.01)

    return wait


@pytest.fixture(scope="session")
def gone() -> Callable[[int], bool]:
    """Tell whether a process has ended (a zombie that nobody has collected yet has)."""

    def check(pid: int) -> bool:
        try:
            return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return True

    return check


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[DataFolder]:
    """An empty data folder."""
    folder = DataFolder.open(tmp_path / "d")
    yield folder
    shutil.rmtree(folder.sockets)


@pytest.fixture(scope="session")
async def cluster_folder(tmp_path_factory: pytest.TempPathFactory) -> DataFolder:
    """A data folder with a cluster that is not running; shared, as setting one up takes a second."""
    folder = DataFolder.open(tmp_path_factory.mktemp("cluster") / "d")
    server = EmbeddedPostgres(folder=folder, fsync=False)
    await server.start()
    await server.stop()
    return folder


@pytest.fixture
async def postgres(cluster_folder: DataFolder) -> AsyncIterator[EmbeddedPostgres]:
    """A running Postgres."""
    server = EmbeddedPostgres(folder=cluster_folder, fsync=False)
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def redis(folder: DataFolder) -> AsyncIterator[EmbeddedRedis]:
    """A running Redis."""
    server = EmbeddedRedis(folder=folder, fsync=False)
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
def dead_pid() -> int:
    """The id of a process that has ended."""
    with subprocess.Popen(["true"]) as process:
        process.wait()
    return process.pid


@pytest.fixture
def bystander() -> Iterator[subprocess.Popen[bytes]]:
    """A living process that has nothing to do with COS."""
    with subprocess.Popen(["sleep", "600"]) as process:
        yield process
        process.kill()
