"""Whose secret it is: looked up once, remembered shortly, forgotten when ended."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import update

from cos.backend.access import service
from cos.backend.access.schemas import TokenIn
from cos.backend.auth.grants import FRESH_SECONDS, Grants
from cos.backend.auth.scopes import Scope
from cos.backend.auth.tables import token as tokens
from cos.common import clock


class Hand:
    """A clock that is moved by hand, from now on."""

    def __init__(self) -> None:
        self.time = datetime.now(UTC)
        self.seconds = 1000.0

    def now(self) -> datetime:
        return self.time

    def monotonic(self) -> float:
        return self.seconds


@pytest.fixture
def hand() -> Iterator[Hand]:
    made = Hand()
    with clock.use_clock(made):
        yield made


@pytest.fixture
async def grants(core) -> Any:
    made = Grants(sessions=core.sessions)
    yield made
    await made.close()


@pytest.fixture
def new(core):
    """Make a token; gives its text."""

    async def make(scope: str = "write", **more: Any) -> str:
        async with core.sessions() as db, db.begin():
            wanted = TokenIn(name=more.pop("name", "t"), scope=scope, **more)
            return (await service.create_token(db, wanted)).token

    return make


@pytest.fixture
def change(core):
    """Change the row of a token behind everybody's back, as another process does."""

    async def make(text: str, **values: Any) -> None:
        async with core.sessions() as db, db.begin():
            await db.execute(update(tokens).where(tokens.c.id == text.split("_")[1]).values(**values))

    return make


async def test_what_a_token_allows(grants, new) -> None:
    text = await new("read", name="reader")
    grant = await grants.of_token(text)
    assert (grant.scope, grant.name, grant.token_id) == (Scope.READ, "reader", text.split("_")[1])
    assert grant.csrf is None


@pytest.mark.parametrize(
    "spoil", [lambda t: t[:-1] + ("A" if t[-1] != "A" else "B"), lambda t: t[:-1], lambda _: ""]
)
async def test_a_text_that_is_none(grants, new, spoil) -> None:
    assert await grants.of_token(spoil(await new())) is None


async def test_it_ends_to_the_moment(grants, new, change, hand) -> None:
    text = await new()
    await change(text, expires_at=hand.time + timedelta(seconds=10))
    hand.time += timedelta(seconds=10, microseconds=-1)
    assert await grants.of_token(text) is not None
    hand.time += timedelta(microseconds=1)
    assert await grants.of_token(text) is None  # although it is remembered


async def test_what_another_process_revoked_is_refused_when_it_is_asked_anew(
    grants, new, change, hand
) -> None:
    text = await new()
    assert await grants.of_token(text) is not None
    await change(text, revoked_at=hand.time)
    assert await grants.of_token(text) is not None
    assert grants.is_remembered(text)
    hand.seconds += FRESH_SECONDS
    assert not grants.is_remembered(text)
    assert await grants.of_token(text) is None


async def test_what_is_revoked_here_is_refused_at_once(grants, new, change, hand) -> None:
    text = await new()
    await grants.of_token(text)
    await change(text, revoked_at=hand.time)
    grants.forget()
    assert await grants.of_token(text) is None


async def test_an_answer_from_before_the_end_is_not_remembered(grants, new, change, hand) -> None:
    """The question was under way when the token was revoked: its answer may be older."""
    text = await new()
    asked = asyncio.ensure_future(grants.of_token(text))
    for _ in range(3):  # the question has begun, and Postgres needs longer than that
        await asyncio.sleep(0)
    grants.forget()
    await asked
    assert not grants.is_remembered(text)


async def test_many_at_once_ask_postgres_once(grants, new, core) -> None:
    text = await new()
    opened = 0
    make = grants._sessions

    def counted() -> Any:
        nonlocal opened
        opened += 1
        return make()

    grants._sessions = counted
    found = await asyncio.gather(*(grants.of_token(text) for _ in range(20)))
    assert opened == 1
    assert len(set(found)) == 1


async def test_who_gives_up_does_not_take_the_answer_from_the_others(grants, new) -> None:
    text = await new()
    first, second = (asyncio.ensure_future(grants.of_token(text)) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    assert (await second).scope is Scope.WRITE


async def test_last_use_never_goes_back(grants, new, pg, hand) -> None:
    """A clock that was set back, or another process's, does not undo what is known."""
    text = await new()
    used = hand.time
    await grants.of_token(text)
    await grants.flush()
    hand.time -= timedelta(hours=1)
    hand.seconds += FRESH_SECONDS
    await grants.of_token(text)
    await grants.flush()
    assert await pg.fetchval("SELECT last_used_at FROM cc.token WHERE id = $1", text.split("_")[1]) == used
