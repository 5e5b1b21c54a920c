"""How much room the log, the streams and the disk have: measured when it is looked at."""

from __future__ import annotations

import asyncio
import shutil
from typing import TYPE_CHECKING, Any, cast

from sqlalchemy import text

from cos.backend.dashboard import words
from cos.common import redis as redis_client
from cos.common.circuit_breaker import BreakerOpen

if TYPE_CHECKING:
    from cos.backend.deps import Services

# Sizes are asked of the file system and of the catalogue: the cost does not grow with the rows. The number of rows is
# Postgres's own estimate of its last look through the table, -1 before the first.
_SIZES = """
    SELECT pg_database_size(current_database()) AS database, pg_total_relation_size('l1.record') AS log,
           (SELECT reltuples::bigint FROM pg_class WHERE oid = 'l1.record'::regclass) AS records
"""


async def storage(services: Services) -> list[tuple[str, str]]:
    """Give what was measured, by name."""
    async with services.sessions() as db, db.begin():
        sizes = (await db.execute(text(_SIZES))).one()
    found = [("Database", words.size(sizes.database)), ("The log in it", words.size(sizes.log))]
    if sizes.records >= 0:
        found.append(("Events, as Postgres estimates", f"about {words.number(sizes.records)}"))
    memory = await _memory(services)
    found.append(("Redis holds in memory", words.size(memory) if memory is not None else words.ABSENT))
    try:
        disk = await asyncio.to_thread(shutil.disk_usage, services.settings.data_dir)
    except OSError:
        return found
    share = 100 * disk.free / disk.total
    return [*found, ("Free on the disk of the data folder", f"{words.size(disk.free)}, {share:.0f} %")]


async def _memory(services: Services) -> int | None:
    async def ask() -> dict[str, Any]:
        return await services.redis.info("memory")

    try:
        return cast("int", (await services.breaker.call(ask))["used_memory"])
    except (BreakerOpen, *redis_client.LOST):
        return None
