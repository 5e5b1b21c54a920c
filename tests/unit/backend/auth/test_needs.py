"""What a route of a package asks for, read from the route itself."""

from __future__ import annotations

import pytest
from fastapi import APIRouter, WebSocket
from starlette.applications import Starlette
from starlette.requests import HTTPConnection

from cos.backend.auth.gate import GRANT
from cos.backend.auth.grants import NOBODY, THIS_MACHINE, Grant
from cos.backend.auth.needs import Need, needs, needs_of
from cos.backend.auth.scopes import ADMIN, READ, WEBSOCKET, WRITE, Rules, Scope
from cos.backend.module import Module
from cos.errors import BadSetting, Forbidden


async def nothing() -> None: ...


async def socket(websocket: WebSocket) -> None: ...


@pytest.fixture
def router() -> APIRouter:
    return APIRouter()


@pytest.fixture
def scope_of(router):
    """Give what a request under the module asks for."""

    def ask(method: str, path: str) -> Scope:
        module = Module(name="notes", router=router)
        rules = Rules(packages={"notes": list(needs_of(module))})
        return rules.scope_of(method, f"/modules/notes{path}")

    return ask


class TestDefaults:
    def test_of_methods_and_websockets(self, router, scope_of) -> None:
        router.add_api_route("/a", nothing, methods=["GET", "POST", "OPTIONS"])
        router.add_api_websocket_route("/ws", socket)
        assert scope_of("GET", "/a") is READ
        assert scope_of("OPTIONS", "/a") is READ
        assert scope_of("POST", "/a") is WRITE
        assert scope_of(WEBSOCKET, "/ws") is WRITE

    def test_of_what_is_not_there(self, scope_of) -> None:
        assert scope_of("GET", "/x") is READ
        assert scope_of("POST", "/x") is WRITE
        assert scope_of(WEBSOCKET, "/x") is WRITE

    def test_of_an_app_that_is_mounted(self, router, scope_of) -> None:
        router.mount("/app", Starlette())
        assert scope_of("GET", "/app/x") is READ
        assert scope_of("DELETE", "/app/x") is WRITE
        assert scope_of(WEBSOCKET, "/app/x") is WRITE


class TestSaid:
    def test_by_one_route_alone(self, router, scope_of) -> None:
        """The same path may ask for more by another method."""
        router.add_api_route("/a", nothing, methods=["GET"])
        router.add_api_route("/a", nothing, methods=["DELETE"], dependencies=[needs("admin")])
        router.add_api_route("/find", nothing, methods=["POST"], dependencies=[needs("read")])
        assert scope_of("GET", "/a") is READ
        assert scope_of("DELETE", "/a") is ADMIN
        assert scope_of("POST", "/find") is READ

    def test_by_a_router_and_by_one_around_it(self, router, scope_of) -> None:
        """The highest counts: nobody opens from within what is closed around it."""
        inner = APIRouter(prefix="/in", dependencies=[needs("write")])
        inner.add_api_route("/a", nothing, methods=["GET"])
        inner.add_api_route("/b", nothing, methods=["GET"], dependencies=[needs("read")])
        inner.add_api_route("/c", nothing, methods=["GET"], dependencies=[needs("admin")])
        inner.add_api_websocket_route("/ws", socket)
        around = APIRouter(prefix="/deep")
        around.include_router(inner)
        router.include_router(around)
        router.include_router(inner, prefix="/closed", dependencies=[needs("admin")])
        assert [scope_of("GET", f"/deep/in/{one}") for one in "abc"] == [WRITE, WRITE, ADMIN]
        assert [scope_of("GET", f"/closed/in/{one}") for one in "abc"] == [ADMIN, ADMIN, ADMIN]
        assert scope_of(WEBSOCKET, "/closed/in/ws") is ADMIN

    def test_paths_with_parts_that_vary(self, router, scope_of) -> None:
        """In the order in which the router tries them."""
        router.add_api_route("/items/first", nothing, methods=["GET"], dependencies=[needs("admin")])
        router.add_api_route("/items/{name}", nothing, methods=["GET"], dependencies=[needs("write")])
        router.add_api_route("/files/{path:path}", nothing, methods=["GET"], dependencies=[needs("admin")])
        assert scope_of("GET", "/items/first") is ADMIN
        assert scope_of("GET", "/items/other") is WRITE
        assert scope_of("GET", "/items/other/more") is READ
        assert scope_of("GET", "/files/a/b/c") is ADMIN
        assert scope_of("GET", "/items/{name}") is WRITE

    def test_it_reaches_no_further_than_the_module(self, router) -> None:
        """Another module, and what is ours, stay as they are."""
        router.add_api_route("/{path:path}", nothing, methods=["GET"], dependencies=[needs("admin")])
        rules = Rules(packages={"notes": list(needs_of(Module(name="notes", router=router)))})
        assert rules.scope_of("GET", "/modules/notes/x") is ADMIN
        assert rules.scope_of("GET", "/modules/notesx/x") is READ
        assert rules.scope_of("GET", "/modules/notes") is READ
        assert rules.scope_of("GET", "/events") is READ

    @pytest.mark.parametrize("word", ["open", "", "ADMIN", "root", "read write", "é"])
    def test_another_word_is_refused(self, word) -> None:
        with pytest.raises(BadSetting, match="only for read, write or admin"):
            needs(word)


class TestWhereItRuns:
    @pytest.mark.parametrize(
        ("grant", "passes"),
        [
            (None, False),
            (NOBODY, False),
            (Grant(scope=Scope.READ), False),
            (Grant(scope=Scope.WRITE), True),
            (THIS_MACHINE, True),
        ],
    )
    async def test_it_is_held_once_more(self, grant, passes) -> None:
        """Should the gate have read a path in another way than the router."""
        scope = {"type": "http", "headers": []} | ({} if grant is None else {GRANT: grant})
        try:
            await Need(WRITE)(HTTPConnection(scope))
        except Forbidden:
            assert not passes
        else:
            assert passes
