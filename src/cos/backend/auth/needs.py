"""What one route of a package asks for: said at the route, read from there by the gate.

    @router.delete("/everything", dependencies=[needs("admin")])

A route that says nothing asks for `read` where it only reads, for `write` elsewhere; a WebSocket asks for `write`, for
nobody can tell from outside what is sent over it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fastapi import Depends, FastAPI
from fastapi.params import Depends as Dependency
from fastapi.routing import iter_route_contexts
from starlette.requests import HTTPConnection
from starlette.routing import Mount

from cos.backend.auth.gate import GRANT
from cos.backend.auth.grants import NOBODY
from cos.backend.auth.scopes import SAFE_METHODS, WEBSOCKET, Scope
from cos.backend.module import Module, mount
from cos.errors import BadSetting, Forbidden

if TYPE_CHECKING:
    from cos.backend.auth.grants import Grant

_WORDS = {scope.word: scope for scope in (Scope.READ, Scope.WRITE, Scope.ADMIN)}


class Need:
    """A dependency that holds the scope once more where the route runs, should the gate have read another path."""

    def __init__(self, scope: Scope) -> None:
        """Take what is asked for."""
        self.scope = scope

    async def __call__(self, connection: HTTPConnection) -> None:
        """Let pass who may; raises Forbidden."""
        grant: Grant = connection.scope.get(GRANT, NOBODY)
        if grant.scope < self.scope:
            raise Forbidden(f"This needs a token with the scope {self.scope.word}.")


def needs(scope: str) -> Any:
    """Give the dependency by which a route, or all of a router, asks for a scope; of several the highest counts.

    Args:
        scope: `read`, `write` or `admin`; what is done with `admin` is recorded with who did it.

    Raises:
        BadSetting: it is none of them; no route of a package is open to who has no token.
    """
    if scope not in _WORDS:
        raise BadSetting(
            f"A route cannot ask for the scope {ascii(scope)[:40]}: only for read, write or admin."
        )
    return Depends(Need(_WORDS[scope]))


@dataclass(frozen=True, slots=True)
class RouteNeed:
    """What one route asks for.

    Attributes:
        path: its template, with what it is mounted under.
        pattern: what it answers.
        methods: by which it is asked; None for all.
        scope: what it asks for; None for what routes ask for that say nothing.
    """

    path: str
    pattern: re.Pattern[str]
    methods: frozenset[str] | None
    scope: Scope | None

    def serves(self, method: str, path: str) -> bool:
        """Say whether this route would serve a request; also one that is written as its template is."""
        if self.methods is not None and method not in self.methods:
            return False
        return path == self.path or self.pattern.match(path) is not None

    def scope_for(self, method: str) -> Scope:
        """Give what it asks for."""
        if self.scope is not None:
            return self.scope
        return Scope.READ if method in SAFE_METHODS else Scope.WRITE


def needs_of(module: Module) -> Iterator[RouteNeed]:
    """Give what each route of a module asks for, in the order in which they are tried."""
    alone = FastAPI(openapi_url=None)
    mount(alone, module)
    for route in iter_route_contexts(alone.routes):
        pattern = getattr(route, "path_regex", None)
        if pattern is None or route.path is None:
            continue  # served by the host, not by the path: the rule of the module counts
        asked = [
            one.dependency.scope
            for one in getattr(route, "dependencies", ())
            if isinstance(one, Dependency) and isinstance(one.dependency, Need)
        ]
        yield RouteNeed(route.path_format or route.path, pattern, _methods(route), max(asked, default=None))


def _methods(route: Any) -> frozenset[str] | None:
    if isinstance(route.original_route, Mount):
        return None
    methods = route.methods
    return frozenset({WEBSOCKET}) if methods is None else frozenset(methods)
