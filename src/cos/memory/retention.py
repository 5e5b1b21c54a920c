"""Keeps the streams short: by length and by age, and never what a group has not finished, unless a hard limit says so.

Only the streams are trimmed; the log keeps everything, and a group that finds its stream cut is brought from the log
what it missed. A stream's last id survives its entries, so the relay goes on where it was.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, cast

import asyncpg
import structlog
from redis.exceptions import RedisError

from cos.common import clock, db, messages
from cos.common import redis as redis_client
from cos.memory import generation, highway_sql, sql
from cos.memory.position import Position

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from cos.common.pool import Connection, Pool
    from cos.memory.streams import Streams

_log = structlog.get_logger("cos.retention")

TURN_SECONDS = 30.0
_STEP = 1000

# Removes entries up to an id, but none that a group of the stream has not finished, nor beyond the floor that is given
# for groups which Redis does not know; all of them, where `hard` is given, and then it says whose they were.
# KEYS: stream. ARGV: last id to remove, floor ('' for none), hard ('1' or '').
# Gives: how many were removed, then the names of groups that had not finished what was removed.
TRIM = """
local function parts(id)
    local dash = string.find(id, '-', 1, true)
    return string.sub(id, 1, dash - 1), string.sub(id, dash + 1)
end
local function below(a, b)
    if #a ~= #b then return #a < #b end
    return a < b
end
local function less(a, b)
    local ax, as = parts(a)
    local bx, bs = parts(b)
    if ax ~= bx then return below(ax, bx) end
    return below(as, bs)
end
local function after(id)
    local x, s = parts(id)
    return x .. '-' .. string.format('%.0f', tonumber(s) + 1)
end
local keep, hard, hurt = after(ARGV[1]), ARGV[3] == '1', {}
if ARGV[2] ~= '' and less(after(ARGV[2]), keep) and not hard then keep = after(ARGV[2]) end
local groups = redis.pcall('XINFO', 'GROUPS', KEYS[1])
if groups.err then return {0} end
for _, one in ipairs(groups) do
    local name, pending, last
    for i = 1, #one, 2 do
        if one[i] == 'name' then name = one[i + 1] end
        if one[i] == 'pending' then pending = one[i + 1] end
        if one[i] == 'last-delivered-id' then last = one[i + 1] end
    end
    local first = after(last)
    if pending > 0 then first = redis.call('XPENDING', KEYS[1], name)[2] end
    if less(first, keep) then
        if hard then hurt[#hurt + 1] = name else keep = first end
    end
end
return {redis.call('XTRIM', KEYS[1], 'MINID', '=', keep), unpack(hurt)}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How long streams may be.

    Attributes:
        length: entries that are kept of each stream; more where a group has not finished them.
        age_seconds: about how long entries are kept; longer where a group has not finished them.
        hard_length: entries that are never exceeded for long, whoever needs them; 0 for no such limit.
    """

    length: int
    age_seconds: float
    hard_length: int = 0


class Retention:
    """Trims the streams; a background part. Any number of processes may run it."""

    def __init__(self, *, pool: Pool, redis: Redis, redis_url: str, streams: Streams, limits: Limits) -> None:
        """Take what is needed; the limits are those of the settings."""
        self.trimmed = 0
        #: Groups whose unfinished entries the hard limit removed, and how many times; they get them from the log.
        self.overrun: dict[str, int] = {}
        self._pool = pool
        self._redis = redis
        self._redis_url = redis_url
        self._streams = streams
        self._limits = limits

    async def turn(self) -> float:
        """Trim each stream once.

        Raises:
            CosError: Postgres or Redis does not answer, in words.
        """
        try:
            async with self._pool.connection() as connection:
                await self._trim_all(connection)
        except (*db.LOST, asyncpg.PostgresError) as error:
            raise self._pool.explain(error) from error
        except RedisError as error:
            raise redis_client.connect_error(self._redis_url, error) from error
        return TURN_SECONDS

    async def _trim_all(self, connection: Connection) -> None:
        life = await generation.in_postgres(connection)
        if life is None:
            return
        for row in await connection.fetch(sql.MODULES):
            module = row[0]
            key = self._streams.key(module, life.number)
            length = await self._redis.xlen(key)
            if length == 0:
                continue
            floor = await connection.fetchrow(highway_sql.LEAST_PLACE, module, life.number)
            least = "" if floor is None or floor["xact"] is None else f"{floor['xact']}-{floor['seq']}"
            await self._by_length(key, module, length, least)
            await self._by_age(connection, key, module, least)

    async def _by_length(self, key: str, module: str, length: int, floor: str) -> None:
        for most, hard in ((self._limits.length, False), (self._limits.hard_length, True)):
            excess = length - most
            while excess > 0 and most > 0:
                entries: Any = await self._redis.xrange(key, count=min(excess, _STEP))
                removed = await self._trim(key, module, entries[-1][0].decode(), floor, hard=hard)
                excess -= removed
                length -= removed
                if removed < len(entries):
                    break

    async def _by_age(self, connection: Connection, key: str, module: str, floor: str) -> None:
        entries: Any = await self._redis.xrange(key, count=1)
        cutoff = clock.now() - timedelta(seconds=self._limits.age_seconds)
        if not entries or messages.decode(entries[0][1][b"event"]).recordedtime >= cutoff:
            return
        low = Position.parse(entries[0][0].decode())
        last: Any = await self._redis.xrevrange(key, count=1)
        high = Position.parse(last[0][0].decode())
        while low.xact < high.xact:
            middle = Position((low.xact + high.xact + 1) // 2, 0)
            row = await connection.fetchrow(highway_sql.RECORDED_AFTER, module, *middle)
            if row is not None and row["recorded_at"] < cutoff:
                low = Position(max(middle.xact, row["xact"]), row["seq"])
            else:
                high = Position(middle.xact - 1, 0)
        last_old = await connection.fetchval(highway_sql.LAST_OLD, module, low.xact, cutoff)
        if last_old is not None:
            await self._trim(key, module, str(Position(low.xact, last_old)), floor)

    async def _trim(self, key: str, module: str, upto: str, floor: str, *, hard: bool = False) -> int:
        answer: Any = await cast("Any", self._redis.eval(TRIM, 1, key, upto, floor, "1" if hard else ""))
        removed, *hurt = answer
        self.trimmed += removed
        _tell(module, removed, hurt, self.overrun)
        count: int = removed
        return count


def _tell(module: str, removed: int, hurt: Sequence[bytes], overrun: dict[str, int]) -> None:
    for name in hurt:
        group = name.decode()
        overrun[group] = overrun.get(group, 0) + 1
        _log.warning("stream_trimmed_unfinished", module=module, group=group, removed=removed)
    if removed and not hurt:
        _log.info("stream_trimmed", module=module, removed=removed)
