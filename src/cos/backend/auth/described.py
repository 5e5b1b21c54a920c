"""What the OpenAPI document says of access: how a token is sent, what each operation asks for, how it is refused."""

from __future__ import annotations

from typing import Any

from cos.backend.auth.scopes import Rules, Scope
from cos.backend.problems import problems

_SCHEMES = {
    "token": {
        "type": "http",
        "scheme": "bearer",
        "description": "A token made with `cos token create`, sent as `Authorization: Bearer cos_…`.",
    },
    "session": {
        "type": "apiKey",
        "in": "cookie",
        "name": "cos_session",
        "description": "The page's sign-in; what changes anything also carries `X-CSRF-Token`.",
    },
}


def describe_access(document: dict[str, Any], *, rules: Rules, asked: bool) -> None:
    """Complete the document, in place.

    Args:
        document: made by FastAPI.
        rules: what each path asks for.
        asked: whether this server asks for tokens at all.
    """
    document.setdefault("components", {})["securitySchemes"] = _SCHEMES
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            scope = rules.scope_of(method.upper(), path)
            operation["x-cos-scope"] = scope.word
            operation["security"] = _security(scope, asked=asked)
            for status, answer in problems(401, 403).items():
                operation["responses"].setdefault(str(status), answer)


def _security(scope: Scope, *, asked: bool) -> list[dict[str, list[str]]]:
    nothing: list[dict[str, list[str]]] = [{}]
    if scope is Scope.OPEN:
        return nothing
    return ([] if asked else nothing) + [{"token": []}, {"session": []}]
