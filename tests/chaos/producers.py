"""Producers: they record what was drawn, and keep the model of what must, may and must never be in the log."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import httpx
from redis.exceptions import RedisError
from rig import rest
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from cos.backend.cc.logging import log_l1
from cos.common import db
from cos.errors import BadInput, CosError
from cos.memory.event import new_event

if TYPE_CHECKING:
    from draw import Wish, Write
    from rig import Rig

#: How long a producer tries to get an answer that says yes.
PATIENCE_SECONDS = 25.0
MUST, MAY, NEVER = "must", "may", "never"
_LOOK = text("SELECT n FROM chaos_shared")
_CHANGE = text("UPDATE chaos_shared SET n = n + 1")
_LOST = (CosError, SQLAlchemyError, httpx.HTTPError, *db.LOST)


class Model:
    """What became of each wish, as far as its producer was told."""

    def __init__(self) -> None:
        self.wishes: dict[str, Wish] = {}
        self.fate: dict[str, str] = {}
        self.together: list[tuple[str, ...]] = []
        self.tries = self.again = self.conflicts = 0
        #: How often the log was set back: what was told before is not certain after.
        self.life = 0

    def settle(self, write: Write, fate: str) -> None:
        """Keep what became of a write; what was rolled back inside it never happens."""
        tokens = []
        for step in write.steps:
            for wish in step.wishes:
                self.wishes[wish.token] = wish
                kept = step.kept and write.commits
                self.fate[wish.token] = fate if kept else NEVER
                if kept:
                    tokens.append(wish.token)
        if tokens:
            self.together.append(tuple(tokens))

    def certain(self) -> frozenset[str]:
        """Give the tokens that are in the log for certain, at this moment."""
        return frozenset(token for token, told in self.fate.items() if told == MUST)

    def set_back(self, kept: frozenset[str]) -> None:
        """Begin another life of the log, in which only these are certain of what was told in the last one."""
        self.life += 1
        for token, told in self.fate.items():
            if told == MUST and token not in kept:
                self.fate[token] = MAY


async def produce(rig: Rig, model: Model, write: Write, http: httpx.AsyncClient) -> None:
    """Do one write at its time, again and again with the same keys until somebody says that it is durable."""
    await rest(write.at)
    model.settle(write, MAY)
    do = {"recorder": _by_recorder, "session": _by_session, "http": _by_http}[write.via]
    until = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < until:
        model.tries += 1
        life = model.life
        try:
            await do(rig, write, http)
        except BadInput:
            raise
        except _LOST as error:
            model.conflicts += "could not serialize" in str(error)
            await asyncio.sleep(0.05)
        else:
            if life == model.life:
                model.settle(write, MUST)
            if write.again:
                model.again += 1
                with suppress(*_LOST):  # whatever becomes of it, it must not become a second record
                    await do(rig, write, http)
            return


def _data(wish: Wish) -> dict[str, Any]:
    return {"token": wish.token, "poison": wish.poison, "flaky": wish.flaky}


async def _by_recorder(rig: Rig, write: Write, _http: httpx.AsyncClient) -> None:
    await rig.core.recorder.record_many(
        [
            new_event(
                type="work",
                module=one.module,
                subject=one.subject,
                data=_data(one),
                idempotency_key=None if rig.mutant == "no-keys" else one.token,
            )
            for one in write.steps[0].wishes
        ]
    )


async def _by_session(rig: Rig, write: Write, _http: httpx.AsyncClient) -> None:
    async with rig.core.sessions() as session, asyncio.timeout(10):
        if write.shares:
            await session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
            await session.execute(_LOOK)
        for step in write.steps:
            savepoint = await session.begin_nested() if step.savepoint else None
            for one in step.wishes:
                made = await log_l1(
                    session,
                    "work",
                    _data(one),
                    module=one.module,
                    subject=one.subject,
                    idempotency_key=None if rig.mutant == "no-keys" else one.token,
                )
                if rig.mutant == "early-publish":
                    await _publish_early(rig, one, made)
            if step.pause:
                await rest(step.pause)
            if savepoint is not None:
                await (savepoint.commit() if step.kept else savepoint.rollback())
        if write.shares:
            await session.execute(_CHANGE)
        await (session.commit() if write.commits else session.rollback())


async def _by_http(rig: Rig, write: Write, http: httpx.AsyncClient) -> None:
    wishes = write.steps[0].wishes
    body = [
        {
            "type": "work",
            "module": one.module,
            "subject": one.subject,
            "data": _data(one),
            "idempotency_key": one.token,
        }
        for one in wishes
    ]
    try:
        answer = await http.post("/events", json=body if len(body) > 1 else body[0])
    except (
        AttributeError
    ) as error:  # the client's, for a connection that is lost in the moment in which it is made
        raise httpx.ConnectError(str(error)) from error
    answer.raise_for_status()


async def _publish_early(rig: Rig, one: Wish, made: Any) -> None:
    """Do what COS never does: announce what is not committed."""
    streams = rig.core.streams
    body = (
        f'{{"id":"{made.base_log_id}","source":"early","specversion":"1.0","level":"info","type":"work","module":"{one.module}",'
        f'"position":"{made.position}","time":"2026-01-01T00:00:00Z",'
        f'"recordedtime":"2026-01-01T00:00:00Z","subject":"{one.subject}",'
        f'"data":{{"token":"{one.token}"}}}}'
    )
    with suppress(RedisError):
        key = streams.key(one.module, await streams.generation() or 1)
        await rig.straight.xadd(key, {"event": body}, id=str(made.position))
