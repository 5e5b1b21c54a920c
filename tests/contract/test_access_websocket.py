"""The live feed over a WebSocket: no browser keeps a foreign page from opening one, so COS does."""

from __future__ import annotations

import dataclasses

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from cos.backend.app import create_app, with_edge
from cos.config import load_settings
from cos.runtime.server import ApiServer, bind


@pytest.fixture
async def open_server(core):
    server = ApiServer(app=with_edge(create_app(core.services())), listener=bind(0), stop_timeout_seconds=2)
    await server.start()
    yield server.url.replace("http", "ws", 1)
    await server.stop()


@pytest.fixture
async def asking_server(core):
    settings = load_settings(data_dir=core.settings.data_dir, require_token=True)
    app = with_edge(create_app(dataclasses.replace(core.services(), settings=settings)))
    server = ApiServer(app=app, listener=bind(0), stop_timeout_seconds=2)
    await server.start()
    yield server.url.replace("http", "ws", 1)
    await server.stop()


async def status_of(url: str, **headers: str) -> int:
    """Open one; gives 101, or the status of the refusal."""
    try:
        async with connect(f"{url}/events/ws", additional_headers=headers, proxy=None):
            return 101
    except InvalidStatus as refused:
        return refused.response.status_code


class TestOnThisMachine:
    async def test_a_program_and_our_page(self, open_server) -> None:
        assert await status_of(open_server) == 101
        assert await status_of(open_server, Origin=open_server.replace("ws", "http", 1)) == 101

    @pytest.mark.parametrize(
        "origin", ["null", "http://evil.example", "http://localhost:5173", "http://127.0.0.1:1"]
    )
    async def test_another_page(self, open_server, origin) -> None:
        assert await status_of(open_server, Origin=origin) == 403


class TestElsewhere:
    async def test_with_and_without_a_token(self, asking_server, guarded) -> None:
        """A session alone does not do without its page."""
        token = await guarded.token("read")
        assert await status_of(asking_server) == 401
        assert await status_of(asking_server, Authorization=f"Bearer {token}x") == 401
        assert await status_of(asking_server, Authorization=f"Bearer {token}") == 101
        cookie = f"cos_session={(await guarded.sign_in(token)).cookies['cos_session']}"
        assert await status_of(asking_server, Cookie=cookie) == 403
        assert await status_of(asking_server, Cookie=cookie, Origin="http://evil.example") == 403
        ours = asking_server.replace("ws", "http", 1)
        assert await status_of(asking_server, Cookie=cookie, Origin=ours) == 101
