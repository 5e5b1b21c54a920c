"""The promise that COS is open to nobody without a token, and tokens from the command line."""

from __future__ import annotations

import pytest

from cos.backend.access import service
from cos.backend.access.schemas import TokenIn
from cos.backend.auth.policy import Policy
from cos.config import load_settings
from cos.errors import BadSetting, Conflict, NoToken
from cos.runtime.tokens import check_open, token_database

ELSEWHERE = [
    {"host": "0.0.0.0"},  # noqa: S104  (read, not bound)
    {"host": "::"},
    {"host": "192.0.2.1"},
    {"host": "cos.example.org"},
    {"hosts": "cos.example.org"},
    {"require_token": True},
]


@pytest.fixture
def given(tmp_path):
    def make(**more):
        return load_settings(data_dir=tmp_path / "data", **more)

    return make


@pytest.fixture
def create(core):
    async def make(scope: str) -> None:
        async with core.sessions() as db, db.begin():
            await service.create_token(db, TokenIn(name=f"a-{scope}", scope=scope))

    return make


class TestOpen:
    @pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.9", "localhost", "::1"])
    async def test_on_this_machine_without_any(self, core, given, host) -> None:
        settings = given(host=host)
        await check_open(settings, core.sessions)
        assert not Policy.of(settings).asks_for_tokens

    @pytest.mark.parametrize("more", ELSEWHERE, ids=str)
    async def test_elsewhere_with_one_that_administers(self, core, given, create, more) -> None:
        """One that only writes cannot make others: who would be locked out is told so before COS starts."""
        await create("write")
        with pytest.raises(NoToken, match="--scope admin NAME"):
            await check_open(given(**more), core.sessions)
        await create("admin")
        await check_open(given(**more), core.sessions)

    async def test_the_sentence_is_a_command_that_works(self, core, given, tmp_path) -> None:
        """With the folder where one is used, without it where a database is given."""
        with pytest.raises(NoToken, match=f"--data-dir {tmp_path / 'data'} --scope"):
            await check_open(given(require_token=True), core.sessions)
        with pytest.raises(NoToken, match="cos token create --scope"):
            await check_open(given(require_token=True, database_url="postgresql://a/b"), core.sessions)

    async def test_a_setting_that_cannot_be_used(self, core, given) -> None:
        with pytest.raises(BadSetting, match="COS_HOSTS"):
            await check_open(given(hosts="http://cos.example.org"), core.sessions)

    @pytest.mark.parametrize(
        ("more", "warned"),
        [
            ({"host": "192.0.2.1"}, True),
            ({"host": "192.0.2.1", "trusted_proxies": "192.0.2.9"}, False),
            ({"hosts": "cos.example.org"}, False),
        ],
        ids=str,
    )
    async def test_it_warns_where_tokens_can_be_read_on_the_way(
        self, core, given, create, capsys, more, warned
    ) -> None:
        await create("admin")
        await check_open(given(**more), core.sessions)
        assert ("tokens_travel_unencrypted" in "".join(capsys.readouterr())) is warned


class TestDatabase:
    @pytest.fixture
    def settings(self, given, servers):
        return given(database_url=servers.postgres.url)

    async def test_it_is_one_transaction(self, settings, clean, pg) -> None:
        async with token_database(settings) as db:
            await service.create_token(db, TokenIn(name="a"))
            assert await pg.fetchval("SELECT count(*) FROM cc.token") == 0
        assert await pg.fetchval("SELECT count(*) FROM cc.token") == 1
        assert await pg.fetchval("SELECT count(*) FROM l1.record WHERE type = 'token.created'") == 1

    async def test_what_fails_leaves_nothing(self, settings, clean, pg) -> None:
        async def twice() -> None:
            async with token_database(settings) as db:
                await service.create_token(db, TokenIn(name="a"))
                await service.create_token(db, TokenIn(name="a"))

        with pytest.raises(Conflict):
            await twice()
        assert await pg.fetchval("SELECT count(*) FROM cc.token") == 0
        assert await pg.fetchval("SELECT count(*) FROM l1.record") == 0

    async def test_no_connection_stays(self, settings, clean, pg) -> None:
        async with token_database(settings) as db:
            connection = await (await db.connection()).get_raw_connection()
            pid = connection.driver_connection.get_server_pid()
        assert connection.driver_connection is None or connection.driver_connection.is_closed()
        assert pid
