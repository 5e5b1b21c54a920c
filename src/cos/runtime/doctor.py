"""`cos doctor`: everything that COS needs, checked, with what to do about what is not well."""

from __future__ import annotations

import platform
import shutil
import sys
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from cos.common import db
from cos.common import redis as redis_client
from cos.errors import CosError
from cos.infra.binaries import find_postgres_bin, find_redis_server, read_version
from cos.infra.folder import DataFolder
from cos.migrations.apply import HEAD
from cos.runtime.listener import bind
from cos.runtime.mending import faults
from cos.runtime.status import status

if TYPE_CHECKING:
    from collections.abc import Callable

    from cos.config import Settings

_LOW_BYTES = 1024**3
#: What the database has and the server's files have not: it fails where it is used, or after the next upgrade.
_MISSING_EXTENSIONS = """
    SELECT extname FROM pg_extension
    WHERE extname NOT IN (SELECT name FROM pg_available_extensions) ORDER BY extname
"""


@dataclass(frozen=True, slots=True)
class Finding:
    """One check: what was looked at, what was found, and what to do if it is not well."""

    check: str
    ok: bool
    found: str
    advice: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Give it as JSON values."""
        return asdict(self)


async def examine(settings: Settings) -> list[Finding]:
    """Make all checks; never raises for what it finds."""
    findings = [
        Finding("Python", ok=True, found=f"{platform.python_version()} ({sys.executable})"),
        _tried("Postgres binary", lambda: read_version(find_postgres_bin() / "postgres")),
        _tried("Redis binary", lambda: read_version(find_redis_server())),
    ]
    findings += [
        Finding("data folder", ok=False, found=fault.found, advice=fault.advice) for fault in faults(settings)
    ]
    folder = _tried("data folder", lambda: str(DataFolder.open(settings.data_dir).path))
    findings.append(folder)
    if not folder.ok and not settings.data_dir.expanduser().is_dir():
        return findings
    findings.append(_disk(settings))
    state = await status(settings)
    if state["api"]["pid"] is None:
        findings.append(Finding("COS", ok=True, found="not running", advice="start it with: cos up"))
        findings.append(_tried(f"port {settings.port}", lambda: _free(settings.port, settings.host)))
        for name, given in (("postgres", settings.database_url), ("redis", settings.redis_url)):
            if given is not None:
                findings.append(await _given(name, given.get_secret_value()))
        return findings
    findings.append(
        Finding(
            "COS",
            state["health"] == "ok",
            f"{state['health']}, {state['api']['url']}",
            " ".join(state["causes"]),
        )
    )
    findings += await _database(state["postgres"]["url"])
    return findings


def _tried(check: str, look: Callable[[], str]) -> Finding:
    try:
        return Finding(check, ok=True, found=look())
    except CosError as error:
        return Finding(check, ok=False, found="not usable", advice=error.detail)


def _free(port: int, host: str) -> str:
    bind(port, host).close()
    return "free"


def _disk(settings: Settings) -> Finding:
    free = shutil.disk_usage(settings.data_dir).free
    shown = f"{free / 1024**3:.1f} GiB free"
    return Finding("disk", free >= _LOW_BYTES, shown, "" if free >= _LOW_BYTES else "free some space soon")


async def _given(name: str, url: str) -> Finding:
    try:
        if name == "postgres":
            await (await db.connect(url, name="cos doctor")).close(timeout=2)
        else:
            client = redis_client.create_redis(url)
            try:
                await redis_client.check(client, url)
            finally:
                await client.aclose()
    except CosError as error:
        return Finding(f"given {name}", ok=False, found="not usable", advice=error.detail)
    return Finding(f"given {name}", ok=True, found="answers")


async def _database(url: str) -> list[Finding]:
    try:
        connection = await db.connect(url, name="cos doctor")
    except CosError as error:
        return [Finding("database", ok=False, found="not reachable", advice=error.detail)]
    try:
        revision = await connection.fetchval("SELECT version_num FROM public.alembic_version")
        missing = [row["extname"] for row in await connection.fetch(_MISSING_EXTENSIONS)]
    finally:
        await connection.close(timeout=2)
    advice = "" if revision == HEAD else "restart COS to migrate it"
    findings = [Finding("database", revision == HEAD, f"revision {revision}", advice)]
    if missing:
        names = ", ".join(missing)
        findings.append(
            Finding(
                "extensions",
                ok=False,
                found=f"{names} is used by the database, and this Postgres does not bring it",
                advice="install it for this Postgres, or drop it with: DROP EXTENSION",
            )
        )
    return findings
