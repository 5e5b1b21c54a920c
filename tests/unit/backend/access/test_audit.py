"""The audit: an administrative act and the event that says who did it are both there, or neither is."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from cos.backend.access import service
from cos.backend.access.audit import ACTED, audit_into
from cos.backend.access.schemas import TokenIn
from cos.backend.auth import secret
from cos.backend.auth.gate import Gate
from cos.backend.auth.policy import Policy
from cos.backend.auth.scopes import Rules
from cos.backend.cc.logging import log_l1
from cos.config import load_settings
from cos.errors import NotFound, PostgresUnreachable

PATH = "/cc/tokens"


class Crash(BaseException):
    """Stands for the end of the process: nothing catches it."""


class Desk:
    """A gate with a token that administers, and one route behind it that a test chooses."""

    def __init__(self, core: Any, token: str) -> None:
        self.core = core
        self.token = token
        self.sent: list[dict[str, Any]] = []
        self.known_at_start: list[str] = []

    async def act(self, serve: Callable[[Any], Awaitable[None]], *, dies: bool = False, **more: Any) -> None:
        """Send one request to the route; with `dies`, the process ends when the answer would begin."""
        settings = load_settings(data_dir=self.core.settings.data_dir, require_token=True)

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await serve(send)

        async def send(message: Any) -> None:
            if dies:
                raise Crash
            if message["type"] == "http.response.start":
                self.known_at_start = await self.told()
            self.sent.append(message)

        gate = Gate(
            app,
            policy=Policy.of(settings),
            grants=self.core.grants,
            rules=Rules(),
            most_body_bytes=lambda: 1000,
            audit=audit_into(self.core.recorder),
        )
        scope = {
            "type": "http",
            "method": "POST",
            "path": PATH,
            "raw_path": PATH.encode(),
            "query_string": b"",
            "scheme": "http",
            "server": ("127.0.0.1", 80),
            "headers": [(b"host", b"127.0.0.1"), (b"authorization", f"Bearer {self.token}".encode())],
            "client": ("127.0.0.1", 4000),
            **more,
        }
        await gate(scope, None, send)

    @asynccontextmanager
    async def transaction(self) -> Any:
        async with self.core.sessions() as db, db.begin():
            yield db

    async def told(self, kind: str = ACTED) -> list[str]:
        """Give the request paths of the events, or their types."""
        async with self.core.sessions() as db:
            connection = await (await db.connection()).get_raw_connection()
            rows = await connection.driver_connection.fetch(
                "SELECT data::text AS data FROM l1.record WHERE type = $1", kind
            )
        return [row["data"] for row in rows]

    @property
    def statuses(self) -> list[int]:
        return [one["status"] for one in self.sent if one["type"] == "http.response.start"]


@pytest.fixture
async def desk(core: Any) -> Desk:
    async with core.sessions() as db, db.begin():
        made = await service.create_token(db, TokenIn(name="the boss", scope="admin"))
    return Desk(core, made.token)


async def answer(send: Any, status: int = 201) -> None:
    await send({"type": "http.response.start", "status": status, "headers": []})
    await send({"type": "http.response.body", "body": b"done"})


class TestWithTheAct:
    """The transaction that does it tells it."""

    async def test_a_crash_after_the_commit_loses_nothing(self, desk) -> None:
        """The process ends before a byte of the answer is sent: the act is there, and so is who did it."""

        async def route(send: Any) -> None:
            async with desk.transaction() as db:
                await log_l1(db, "thing.done", {"n": 1})
            raise Crash

        with pytest.raises(Crash):
            await desk.act(route)
        assert len(await desk.told("thing.done")) == 1
        [told] = await desk.told()
        assert secret.token_id(desk.token) in told
        assert "the boss" in told

    async def test_a_crash_before_the_commit_leaves_neither(self, desk) -> None:
        async def route(send: Any) -> None:
            async with desk.transaction() as db:
                await log_l1(db, "thing.done", {"n": 1})
                raise Crash

        with pytest.raises(Crash):
            await desk.act(route)
        assert await desk.told("thing.done") == []
        assert await desk.told() == []

    async def test_an_act_that_cannot_be_told_is_not_done(self, desk, pg) -> None:
        """Postgres refuses the audit's event: the act is rolled back with it."""
        await pg.execute(
            "CREATE FUNCTION l1.no_audit() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE EXCEPTION 'no room for the audit'; END $$"
        )
        try:
            await pg.execute(
                "CREATE TRIGGER no_audit BEFORE INSERT ON l1.record FOR EACH ROW "
                "WHEN (NEW.type = 'admin.acted') EXECUTE FUNCTION l1.no_audit()"
            )

            async def route(send: Any) -> None:
                async with desk.transaction() as db:
                    await log_l1(db, "thing.done", {"n": 1})
                await answer(send)

            with pytest.raises(Exception, match="no room for the audit"):
                await desk.act(route)
        finally:
            await pg.execute("DROP FUNCTION l1.no_audit() CASCADE")
        assert await desk.told("thing.done") == []
        assert desk.statuses == []

    async def test_once_however_many_transactions(self, desk) -> None:
        """Two commits, one after the other and two at once, and the answer: one event."""

        async def write() -> None:
            async with desk.transaction() as db:
                await log_l1(db, "thing.done")

        async def route(send: Any) -> None:
            await asyncio.gather(write(), write())
            await write()
            await answer(send)

        await desk.act(route)
        assert len(await desk.told("thing.done")) == 3
        assert len(await desk.told()) == 1

    async def test_a_released_savepoint_tells_nothing(self, desk) -> None:
        """The transaction around it is rolled back, so nothing was done."""

        async def route(send: Any) -> None:
            async with desk.transaction() as db:
                async with db.begin_nested():
                    await log_l1(db, "thing.done")
                await db.rollback()
            await answer(send, 404)

        await desk.act(route)
        assert await desk.told() == []

    async def test_reading_is_not_the_act(self, desk) -> None:
        """A look that is committed before the act is refused."""

        async def route(send: Any) -> None:
            async with desk.transaction() as db:
                await service.list_tokens(db)
            await answer(send, 409)

        await desk.act(route)
        assert await desk.told() == []

    async def test_a_transaction_after_a_failed_one_tells_it(self, desk) -> None:
        """What a rolled-back transaction had told is told again by the one that is committed."""

        async def route(send: Any) -> None:
            with suppress(NotFound):
                async with desk.transaction() as db:
                    await log_l1(db, "thing.failed")
                    raise NotFound("none")
            async with desk.transaction() as db:
                await log_l1(db, "thing.done")
            await answer(send)

        await desk.act(route)
        assert len(await desk.told()) == 1

    async def test_what_outlives_the_request_tells_nothing(self, desk) -> None:
        """A task that the route left behind commits later, when it is no longer that act."""
        left: list[asyncio.Task[None]] = []
        go_on = asyncio.Event()

        async def later() -> None:
            await go_on.wait()
            async with desk.transaction() as db:
                await log_l1(db, "thing.later")

        async def route(send: Any) -> None:
            left.append(asyncio.create_task(later()))
            await answer(send, 404)

        await desk.act(route)
        go_on.set()
        await left[0]
        assert len(await desk.told("thing.later")) == 1
        assert await desk.told() == []


class TestBeforeTheAnswer:
    """An act without a transaction of its own."""

    async def test_it_is_durable_before_the_first_byte(self, desk) -> None:
        await desk.act(answer)
        [told] = desk.known_at_start
        assert '"status": 201' in told or '"status":201' in told

    async def test_no_answer_without_it(self, desk) -> None:
        """The process ends where the answer would begin: what was answered is always told."""
        with pytest.raises(Crash):
            await desk.act(answer, dies=True)
        assert len(await desk.told()) == 1

    async def test_what_cannot_be_told_is_answered_so(self, desk, monkeypatch, capsys) -> None:
        """503 in one sentence instead of the route's own answer, and a line in the log."""

        async def lost(event: object) -> None:
            raise PostgresUnreachable("Postgres did not answer in time.")

        monkeypatch.setattr(desk.core.recorder, "record", lost)
        await desk.act(answer)
        assert desk.statuses == [503]
        body = b"".join(one.get("body", b"") for one in desk.sent)
        assert b"This was done, but the log could not be told who did it" in body
        assert body[-4:] != b"done"

    @pytest.mark.parametrize("status", [400, 404, 409, 500, 503])
    async def test_what_was_refused_is_none(self, desk, status) -> None:
        async def route(send: Any) -> None:
            await answer(send, status)

        await desk.act(route)
        assert desk.statuses == [status]
        assert await desk.told() == []

    async def test_what_only_reads_is_none(self, desk) -> None:
        await desk.act(answer, method="GET")
        assert desk.statuses == [201]
        assert await desk.told() == []


class TestWhatItTells:
    async def test_the_status_that_the_route_will_answer_with(self, desk, pg) -> None:
        """Known beforehand where FastAPI makes the answer, absent where the route decides it after the commit."""

        class Route:
            response_model: object = int
            status_code: int | None = None

        async def route(send: Any) -> None:
            async with desk.transaction() as db:
                await log_l1(db, "thing.done")
            await answer(send)

        made, fixed, own = Route(), Route(), Route()
        fixed.status_code, own.response_model = 202, None
        for one in (made, fixed, own):
            await desk.act(route, route=one)
        found = [row["s"] for row in await pg.fetch(_STATUSES)]
        assert found == ["200", "202", None]


_STATUSES = "SELECT data->>'status' AS s FROM l1.record WHERE type = 'admin.acted' ORDER BY seq"
