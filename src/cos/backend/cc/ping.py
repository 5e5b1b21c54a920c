"""Pinging a module: a real round trip to it, or to what the control centre stands on."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

import msgspec
from sqlalchemy import select, text

from cos.backend.cc.health import SILENT
from cos.backend.cc.schemas import PingOut
from cos.backend.cc.tables import module as modules
from cos.common import clock, ids
from cos.common import redis as redis_client
from cos.common.circuit_breaker import BreakerOpen

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

    from cos.backend.deps import Services

#: A module that answers later than this is degraded; one that has not answered by the second has not.
LATE_SECONDS = 0.5
ANSWER_SECONDS = 2.0


async def ping(db: AsyncSession, services: Services, module: str, features: tuple[str, ...]) -> PingOut:
    """Ask a module to answer.

    A part of COS is asked by a statement to Postgres and a ping of Redis. A registered module is asked on the channel
    `<namespace>.ping.<module>` by a JSON object with `id` and `reply_to`, a list that it pushes the id to.
    """
    if module in features:
        return await _own(db, services, module)
    found = (await db.execute(select(modules).where(modules.c.name == module))).one_or_none()
    if found is None:
        return PingOut(module=module, status="unknown", latency_ms=0)
    seconds = await _answer(services, module)
    if seconds is not None:
        late = seconds > LATE_SECONDS
        return PingOut(
            module=module, status="degraded" if late else "healthy", latency_ms=round(seconds * 1000)
        )
    heard = found.last_active is not None and clock.now() - found.last_active <= SILENT
    return PingOut(module=module, status="degraded" if heard else "offline", latency_ms=0)


async def _own(db: AsyncSession, services: Services, module: str) -> PingOut:
    began = clock.monotonic()
    await db.execute(text("SELECT 1"))
    try:
        await services.breaker.call(lambda: cast("Any", services.redis.ping()))
        status = "healthy"
    except (BreakerOpen, *redis_client.LOST):
        status = "degraded"
    return PingOut(module=module, status=status, latency_ms=round((clock.monotonic() - began) * 1000))


async def _answer(services: Services, module: str) -> float | None:
    """Give the seconds until the module answered, None when it did not."""
    namespace = services.settings.redis_namespace
    ask = ids.random_hex(16)
    reply_to = f"{namespace}.pong.{ask}"
    question = msgspec.json.encode({"id": ask, "reply_to": reply_to})
    began = clock.monotonic()

    async def exchange() -> Any:
        if not await services.redis.publish(f"{namespace}.ping.{module}", question):
            return None  # nobody listens
        return await cast("Any", services.redis.blpop([reply_to], timeout=ANSWER_SECONDS))

    try:
        async with asyncio.timeout(ANSWER_SECONDS + 1):
            answer = await services.breaker.call(exchange)
    except (TimeoutError, BreakerOpen, *redis_client.LOST):
        return None
    if answer is None or answer[1].decode(errors="replace") != ask:
        return None
    return clock.monotonic() - began
