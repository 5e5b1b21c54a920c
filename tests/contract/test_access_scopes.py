"""Scopes: what each token may do on each route, and that no route is without a scope."""

from __future__ import annotations

import pytest
from fastapi.routing import APIRoute

from cos.backend.auth.scopes import SAFE_METHODS, Rules, Scope

#: One call for each kind of rule: method, path, what it asks for.
CALLS = [
    ("GET", "/cc/status", "read"),
    ("GET", "/cc/config", "read"),
    ("GET", "/events", "read"),
    ("GET", "/events?after=0-0", "read"),
    ("GET", "/metrics", "read"),
    ("GET", "/ready", "read"),
    ("GET", "/openapi.json", "read"),
    ("GET", "/docs", "read"),
    ("GET", "/", "read"),
    ("GET", "/ui/events", "read"),
    ("GET", "/cc/dead-letters", "read"),
    ("GET", "/cc/projections", "read"),
    ("GET", "/nowhere", "read"),
    ("POST", "/cc/ping", "read"),
    ("POST", "/events", "write"),
    ("POST", "/cc/modules", "write"),
    ("POST", "/cc/mem0/scratch/cleanup", "write"),
    ("DELETE", "/cc/mem0/scratch/notes/1", "write"),
    ("GET", "/cc/tokens", "admin"),
    ("GET", "/cc/tokens/nobody", "admin"),
    ("POST", "/cc/tokens", "admin"),
    ("DELETE", "/cc/tokens/nobody", "admin"),
    ("GET", "/cc/webhooks", "admin"),
    ("POST", "/cc/webhooks", "admin"),
    ("POST", "/cc/dead-letters/requeue", "admin"),
    ("DELETE", "/cc/dead-letters/1", "admin"),
    ("DELETE", "/cc/groups/nobody", "admin"),
    ("POST", "/cc/projections/nobody/rebuild", "admin"),
    ("POST", "/ui/letters/1/requeue", "admin"),
    ("POST", "/nowhere", "admin"),
    ("PROPFIND", "/events", "write"),
]
RANK = {"read": 1, "write": 2, "admin": 3}
REFUSED = {401, 403}


class TestMatrix:
    """Each scope on each kind of route."""

    @pytest.mark.parametrize("scope", ["read", "write", "admin"])
    async def test_a_token_may_what_its_scope_says_and_no_more(self, guarded, problem, scope) -> None:
        """403 names the scope that is wanted; whatever is allowed gets past the gate."""
        token = await guarded.token(scope)
        for method, path, wanted in CALLS:
            answer = await guarded.http.request(method, path, headers=guarded.bearer(token))
            if RANK[scope] < RANK[wanted]:
                problem(answer, 403, f"a token with the scope {wanted}")
            else:
                assert answer.status_code not in REFUSED, (method, path, answer.text)

    async def test_nobody_may_do_anything_but_what_is_open(self, guarded, problem) -> None:
        """401 with the way out, for every method, a path that is not there included."""
        for method, path, _ in CALLS:
            answer = await guarded.http.request(method, path)
            problem(answer, 401, "cos token create")
            assert answer.headers["www-authenticate"].startswith("Bearer")
        for method in ("OPTIONS", "HEAD", "TRACE"):
            assert (await guarded.http.request(method, "/events")).status_code == 401
        assert (await guarded.http.get("/health")).json() == {"status": "ok"}
        assert (await guarded.http.get("/sign-in")).status_code == 200

    @pytest.mark.parametrize(
        "path",
        [
            "//cc/tokens",
            "/cc//tokens",
            "/cc/%74okens",
            "/%63c/tokens",
            "/cc/./tokens",
            "/health/../cc/tokens",
            "/health%2f..%2fcc%2ftokens",
            "/ui/static/../../cc/tokens",
            "/ui/static/%2e%2e/%2e%2e/cc/tokens",
            "/cc/tokens/",
            "/cc/tokens;x",
            "/CC/TOKENS",
            "/cc/tokens%00",
            "/sign-in/../cc/tokens",
        ],
    )
    async def test_no_spelling_of_a_path_gets_past(self, guarded, path) -> None:
        """A token that reads never sees the tokens, however their path is written."""
        token = await guarded.token("read")
        answer = await guarded.raw("GET", path, headers=guarded.bearer(token))
        assert answer.status_code in {301, 303, 307, 308, 400, 401, 403, 404}, answer.text
        assert "created_by" not in answer.text

    @pytest.mark.parametrize(
        "header",
        ["X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override", "X-Original-URL", "X-Rewrite-URL"],
    )
    async def test_no_header_changes_what_is_asked(self, guarded, header) -> None:
        """What some frameworks obey means nothing here."""
        token = await guarded.token("read")
        headers = guarded.bearer(token) | {header: "/cc/tokens" if "URL" in header else "POST"}
        answer = await guarded.http.get("/cc/status", headers=headers)
        assert answer.json() == {"status": "ok"}


class TestEveryRoute:
    """The table of scopes covers what is served."""

    def test_each_stands_under_a_rule_of_its_own(self, guarded) -> None:
        """A new route under no rule fails here: give it one in `cos.backend.auth.scopes`."""
        rules = Rules()
        assert len(guarded.routes) > 60
        bare = [path for path in guarded.routes if path != "/" and rules.rule_for(path) is None]
        assert bare == []

    def test_what_changes_something_is_never_open(self, guarded) -> None:
        """But for signing in and out, which change nobody's data."""
        rules = Rules()
        opened = {
            (method, route.path)
            for route in guarded.api_routes
            for method in route.methods - SAFE_METHODS
            if isinstance(route, APIRoute) and rules.scope_of(method, route.path) is Scope.OPEN
        }
        assert opened == {("POST", "/sign-in"), ("POST", "/sign-out")}

    async def test_each_refuses_who_is_nobody(self, guarded) -> None:
        """Asked for real: every route and method answers 401 without a token."""
        for route in guarded.api_routes:
            for method in route.methods:
                if Rules().scope_of(method, route.path) is Scope.OPEN:
                    continue
                path = route.path.replace("{", "").replace("}", "").replace(":path", "")
                answer = await guarded.http.request(method, path)
                assert answer.status_code == 401, (method, path)

    async def test_the_document_says_what_each_asks_for(self, guarded) -> None:
        """`security` and the scope stand at each operation, and a token is required."""
        token = await guarded.token("read")
        document = (await guarded.http.get("/openapi.json", headers=guarded.bearer(token))).json()
        operations = [
            (path, method, one) for path, item in document["paths"].items() for method, one in item.items()
        ]
        for path, method, one in operations:
            assert one["x-cos-scope"] == Rules().scope_of(method.upper(), path).word
            assert {"401", "403"} <= set(one["responses"])
            assert one["security"] == ([{}] if path == "/health" else [{"token": []}, {"session": []}])
