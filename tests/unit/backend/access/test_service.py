"""Tokens and sessions without HTTP: names, ends, who is left to administer, and the events of it all."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from cos.backend.access import service
from cos.backend.access.schemas import TokenIn
from cos.backend.auth.grants import Grant
from cos.backend.auth.scopes import Scope
from cos.common import clock
from cos.errors import Conflict, NotFound


class Hand:
    """A wall clock that is moved by hand."""

    def __init__(self) -> None:
        self.time = datetime.now(UTC)

    def now(self) -> datetime:
        return self.time

    def monotonic(self) -> float:
        return 1000.0


@pytest.fixture
def hand() -> Iterator[Hand]:
    made = Hand()
    with clock.use_clock(made):
        yield made


@pytest.fixture
def done(core):
    """Do something in a transaction of its own."""

    async def run(work: Any, *arguments: Any, **named: Any) -> Any:
        async with core.sessions() as db, db.begin():
            return await work(db, *arguments, **named)

    return run


@pytest.fixture
def create(done):
    async def make(name: str = "t", scope: str = "read", days: int | None = None) -> Any:
        wanted = TokenIn(name=name, scope=scope, expires_in_days=days)
        return await done(service.create_token, wanted)

    return make


@pytest.fixture
def events(pg):
    async def found(kind: str) -> list[str]:
        rows = await pg.fetch("SELECT subject FROM l1.record WHERE type = $1 ORDER BY seq", kind)
        return [row["subject"] for row in rows]

    return found


class TestName:
    @given(st.text(max_size=110))
    def test_only_what_can_be_typed_and_told_apart(self, name) -> None:
        """Letters that look like others, control characters, a space at the beginning: none."""
        fine = (
            0 < len(name) <= 100
            and name.isascii()
            and name[0].isalnum()
            and all(one.isalnum() or one in "._@ -" for one in name)
        )
        try:
            TokenIn(name=name)
        except ValidationError:
            assert not fine
        else:
            assert fine

    @pytest.mark.parametrize("name", ["a\n", "а", "a/b", "", " a", "é", "a\x00", "-a", "a" * 101])
    def test_what_is_none(self, name) -> None:
        with pytest.raises(ValidationError):
            TokenIn(name=name)

    async def test_of_a_living_one_is_taken(self, create, done) -> None:
        """And the transaction that tried goes on."""
        await create("a")

        async def try_both(db: Any) -> None:
            with pytest.raises(Conflict, match="'a'"):
                await service.create_token(db, TokenIn(name="a"))
            await service.create_token(db, TokenIn(name="b"))

        await done(try_both)
        assert [one.name for one in await done(service.list_tokens)] == ["b", "a"]

    async def test_of_two_at_once_one_gets_it(self, create) -> None:
        results = await asyncio.gather(*(create("a") for _ in range(5)), return_exceptions=True)
        assert sorted(type(one).__name__ for one in results) == ["Conflict"] * 4 + ["TokenMade"]

    async def test_of_a_revoked_one_is_free(self, create, done) -> None:
        first = await create("a")
        await done(service.revoke_token, "a")
        second = await create("a")
        assert (await done(service.get_token, "a")).id == second.id != first.id

    async def test_of_an_expired_one_is_free_from_that_moment(self, create, done, hand, events) -> None:
        """Not a microsecond before; the old one is then revoked, and told of."""
        first = await create("a", days=1)
        hand.time += timedelta(days=1, microseconds=-1)
        with pytest.raises(Conflict):
            await create("a")
        hand.time += timedelta(microseconds=1)
        second = await create("a")
        assert await events("token.revoked") == [first.id]
        hand.time -= timedelta(days=2)  # a clock that is set back wakes nobody
        states = {one.id: one.state for one in await done(service.list_tokens, ended=True)}
        assert states == {first.id: "revoked", second.id: "living"}

    async def test_that_is_the_id_of_another_means_the_id(self, create, done) -> None:
        first = await create("a")
        await create(first.id)
        assert (await done(service.get_token, first.id)).name == "a"
        await done(service.revoke_token, first.id)
        assert (await done(service.get_token, first.id)).state == "revoked"


class TestRevoke:
    async def test_twice_is_once(self, create, done, hand, events) -> None:
        made = await create()
        first = await done(service.revoke_token, made.id)
        hand.time += timedelta(hours=1)
        again = await done(service.revoke_token, made.id)
        assert again == first
        assert again.revoked_at == hand.time - timedelta(hours=1)
        assert await events("token.revoked") == [made.id]

    async def test_of_nobody(self, done) -> None:
        with pytest.raises(NotFound, match="nobody"):
            await done(service.revoke_token, "nobody")

    async def test_a_long_or_strange_name_is_cut_and_escaped(self, done) -> None:
        with pytest.raises(NotFound) as raised:
            await done(service.get_token, "é\n" * 5000)
        assert len(raised.value.detail) < 120
        assert raised.value.detail.isascii()
        assert "\n" not in raised.value.detail

    async def test_this_process_forgets_it_after_the_commit_alone(self, core, create) -> None:
        """A revocation that is rolled back has not happened."""
        made = await create()
        forgotten: list[int] = []
        async with core.sessions() as db:
            await db.begin()
            await service.revoke_token(db, made.id, forget=lambda: forgotten.append(1))
            assert forgotten == []
            await db.rollback()
        assert forgotten == []
        async with core.sessions() as db, db.begin():
            await service.revoke_token(db, made.id, forget=lambda: forgotten.append(1))
        assert forgotten == [1]

    async def test_its_sessions_end_with_it(self, create, done, pg) -> None:
        mine, other = await create("a"), await create("b")
        for one in (mine, other):
            grant = Grant(scope=Scope.READ, token_id=one.id, name=one.name)
            await done(service.open_session, grant, seconds=60)
        await done(service.revoke_token, "a")
        assert [row["token_id"] for row in await pg.fetch("SELECT token_id FROM cc.session")] == [other.id]


class TestSession:
    @pytest.fixture
    async def grant(self, create) -> Grant:
        made = await create("a", "admin")
        return Grant(scope=Scope.ADMIN, token_id=made.id, name="a")

    async def test_a_new_one_takes_the_place_of_the_old(self, grant, done, pg) -> None:
        first = await done(service.open_session, grant, seconds=60)
        second = await done(service.open_session, grant, seconds=60, instead_of=first.id)
        assert [row["id"] for row in await pg.fetch("SELECT id FROM cc.session")] == [second.id]
        assert first.cookie != second.cookie

    async def test_it_lasts_so_long(self, grant, done, hand) -> None:
        opened = await done(service.open_session, grant, seconds=3600)
        assert opened.expires_at == hand.time + timedelta(hours=1)

    async def test_closing_none_does_nothing(self, grant, done, events) -> None:
        forgotten: list[int] = []
        await done(service.close_session, grant, forget=lambda: forgotten.append(1))
        assert forgotten == []
        assert await events("session.closed") == []


class TestAdministrator:
    async def test_an_old_one_among_many(self, create, done, pg) -> None:
        """However many tokens were made since: COS would not start otherwise."""
        await create("boss", "admin")
        await pg.execute(
            "INSERT INTO cc.token (id, name, scope, hash, created_at, created_by) "
            "SELECT to_hex(n), 'r' || n, 'read', '\\x00', now() + interval '1 hour', 'test' "
            "FROM generate_series(1, $1::int) AS n",
            service.MOST_LISTED + 1,
        )
        assert await done(service.any_administrator)
        assert len(await done(service.list_tokens)) == service.MOST_LISTED

    @pytest.mark.parametrize("scope", ["read", "write"])
    async def test_others_are_none(self, create, done, scope) -> None:
        await create("t", scope)
        assert not await done(service.any_administrator)

    async def test_it_ends_to_the_moment(self, create, done, hand) -> None:
        await create("boss", "admin", days=1)
        hand.time += timedelta(days=1, microseconds=-1)
        assert await done(service.any_administrator)
        hand.time += timedelta(microseconds=1)
        assert not await done(service.any_administrator)

    async def test_a_revoked_one_is_none(self, create, done) -> None:
        await create("boss", "admin")
        await done(service.revoke_token, "boss")
        assert not await done(service.any_administrator)


class TestList:
    async def test_ended_ones_only_when_they_are_wanted(self, create, done, hand) -> None:
        await create("living")
        await create("gone")
        await create("short", days=1)
        await done(service.revoke_token, "gone")
        hand.time += timedelta(days=1)
        assert [one.name for one in await done(service.list_tokens)] == ["living"]
        states = {one.name: one.state for one in await done(service.list_tokens, ended=True)}
        assert states == {"living": "living", "gone": "revoked", "short": "expired"}

    async def test_no_event_holds_a_secret(self, create, pg) -> None:
        made = await create()
        kept = str([dict(row) for row in await pg.fetch("SELECT data::text FROM l1.record")])
        assert made.id in kept
        assert made.token.split("_", 2)[2][:12] not in kept
