"""The API on a real socket, an app with small limits, and what every problem document must be."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest

from cos.backend.access import service
from cos.backend.access.schemas import TokenIn
from cos.backend.app import create_app, with_edge
from cos.common import ids
from cos.config import load_settings
from cos.runtime.core import Core
from cos.runtime.server import ApiServer, bind

JSON = {"content-type": "application/json"}
LINES = {"content-type": "application/x-ndjson"}


@pytest.fixture(scope="module")
async def steady(servers: Any, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[httpx.AsyncClient]:
    """The app for what changes nothing, started once a file, without a relay of its own."""
    settings = load_settings(data_dir=tmp_path_factory.mktemp("steady"))
    urls = {"database_url": servers.postgres.url, "redis_url": servers.redis.url}
    async with Core(settings=settings, **urls, worker=False) as core:
        transport = httpx.ASGITransport(
            app=with_edge(create_app(core.services())), raise_app_exceptions=False
        )
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000") as client:
            yield client


@pytest.fixture
async def served(core: Core) -> AsyncIterator[httpx.AsyncClient]:
    """The app behind a real server: for what only a real connection shows."""
    server = ApiServer(app=with_edge(create_app(core.services())), listener=bind(0), stop_timeout_seconds=2)
    await server.start()
    async with httpx.AsyncClient(base_url=server.url, trust_env=False, timeout=30) as client:
        yield client
    await server.stop()


@pytest.fixture
async def narrow(core: Core) -> AsyncIterator[httpx.AsyncClient]:
    """The app with the smallest limits: bodies of 2 KiB, data of 1 KiB and 3 levels."""
    small = load_settings(
        data_dir=core.settings.data_dir, max_body_bytes=2048, max_data_bytes=1024, max_data_depth=3
    )
    app = with_edge(create_app(dataclasses.replace(core.services(), settings=small)))
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000") as client:
        yield client


@pytest.fixture
def problem() -> Callable[..., dict[str, Any]]:
    """Check that an answer is a whole RFC 9457 problem document; gives it."""

    def check(answer: httpx.Response, status: int, said: str = "") -> dict[str, Any]:
        assert answer.status_code == status, answer.text
        assert answer.headers["content-type"] == "application/problem+json"
        found = answer.json()
        assert found["status"] == status
        assert found["type"].startswith("urn:cos:problem:")
        assert found["title"]
        assert isinstance(found["detail"], str)
        assert found["request_id"] == answer.headers["x-request-id"]
        assert found["instance"] == answer.request.url.path
        assert "Traceback" not in answer.text
        assert said in found["detail"], found["detail"]
        return found

    return check


@pytest.fixture
def post(client: httpx.AsyncClient) -> Callable[..., Any]:
    """Send a body to POST /events as JSON."""

    async def send(body: bytes, **headers: str) -> httpx.Response:
        return await client.post("/events", content=body, headers={**JSON, **headers})

    return send


@pytest.fixture
def post_lines(client: httpx.AsyncClient) -> Callable[..., Any]:
    """Send lines to POST /events, in chunks if a list is given."""

    async def send(body: Any, **headers: str) -> httpx.Response:
        content = _chunks(body) if isinstance(body, list) else body
        return await client.post("/events", content=content, headers={**LINES, **headers})

    return send


async def _chunks(parts: list[bytes]) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


class Guarded:
    """A COS that asks for tokens, as one on another address does."""

    def __init__(self, http: httpx.AsyncClient, app: Any, core: Core) -> None:
        self.http = http
        self.core = core
        self.api_routes = [route for route in _routes(app) if getattr(route, "methods", None)]
        self.routes = [route.path for route in _routes(app)]

    async def token(self, scope: str = "admin", name: str | None = None, **more: Any) -> str:
        """Make a token; gives its secret."""
        wanted = TokenIn(name=name or f"a {scope} {ids.random_hex(4)}", scope=scope, **more)
        async with self.core.sessions() as db, db.begin():
            return (await service.create_token(db, wanted)).token

    def bearer(self, token: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {token}"}

    async def raw(self, method: str, path: str, **more: Any) -> httpx.Response:
        """Ask for a path as it is written, with nothing put right on the way."""
        request = self.http.build_request(method, "/", **more)
        request.url = request.url.copy_with(raw_path=path.encode())
        return await self.http.send(request)

    async def sign_in(self, token: str, **headers: str) -> httpx.Response:
        given = {"Origin": "http://cos.example.org", **headers}
        return await self.http.post("/sign-in", data={"token": token}, headers=given)

    async def events(self, kind: str) -> list[dict[str, Any]]:
        headers = self.bearer(await self.token("read"))
        found = (await self.http.get("/events", params={"type": kind}, headers=headers)).json()["events"]
        return list(found)


def _routes(app: Any) -> list[Any]:
    """Give every route, those of routers that are kept whole included."""
    found: list[Any] = []
    for route in app.routes:
        inner = getattr(route, "original_router", None)
        found += _routes(inner) if inner is not None else [route]
    return found


@pytest.fixture
async def guarded(core: Core) -> AsyncIterator[Guarded]:
    """A whole COS that is reached as cos.example.org, and asks for tokens."""
    settings = load_settings(data_dir=core.settings.data_dir, hosts="cos.example.org", rate_per_second=0)
    app = create_app(dataclasses.replace(core.services(), settings=settings))
    transport = httpx.ASGITransport(
        app=with_edge(app), raise_app_exceptions=False, client=("203.0.113.7", 4000)
    )
    async with httpx.AsyncClient(transport=transport, base_url="http://cos.example.org") as client:
        yield Guarded(client, app, core)
