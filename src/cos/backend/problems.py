"""Errors as RFC 9457 problem documents; each keeps a `detail` string for older clients."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import asyncpg
import msgspec
import structlog
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.routing import compile_path

from cos.common import context, db
from cos.errors import CosError, DiskFull

if TYPE_CHECKING:
    from fastapi import FastAPI
    from starlette.requests import Request

_log = structlog.get_logger("cos.http")

MEDIA_TYPE = "application/problem+json"
_CONTENT = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}


class Problem(BaseModel):
    """What went wrong: one sentence in `detail`, the same `type` for the same kind of error."""

    model_config = ConfigDict(extra="allow")

    type: str
    title: str
    status: int
    detail: str
    instance: str | None = None
    request_id: str | None = None


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Describe the error answers of a route for its OpenAPI entry."""
    return {
        status: {
            "description": HTTPStatus(status).phrase,
            "content": _CONTENT,
        }
        for status in statuses
    }


def described() -> dict[str, Any]:
    """Describe the answer to whatever goes wrong that a route does not name itself."""
    return {"description": "What went wrong", "content": _CONTENT}


def problem(
    request: Request,
    *,
    status: int,
    slug: str,
    title: str,
    detail: str,
    headers: dict[str, str] | None = None,
    **extra: Any,
) -> Response:
    """Make the answer."""
    members = {
        "type": f"urn:cos:problem:{slug}",
        "title": title,
        "status": status,
        "detail": detail,
        "instance": request.url.path,
        "request_id": context.request_id.get(),
        **extra,
    }
    content = msgspec.json.encode({name: value for name, value in members.items() if value is not None})
    return Response(content, status_code=status, media_type=MEDIA_TYPE, headers=headers)


def cos_problem(request: Request, error: CosError) -> Response:
    """Show one of our own errors."""
    headers = {"Retry-After": "1"} if error.status == HTTPStatus.SERVICE_UNAVAILABLE else None
    return problem(
        request,
        status=error.status,
        slug=error.slug,
        title=error.title(),
        detail=error.detail,
        headers=headers,
        **error.extra,
    )


async def _on_cos_error(request: Request, error: Exception) -> Response:
    if not isinstance(error, CosError):
        return await _on_anything(request, error)
    return cos_problem(request, error)


async def _on_http(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        return await _on_anything(request, error)
    phrase = HTTPStatus(error.status_code).phrase
    headers = dict(error.headers or {})
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        headers["Allow"] = _allowed(request) or headers.get("Allow", "")
    return problem(
        request,
        status=error.status_code,
        slug=phrase.lower().replace(" ", "-"),
        title=phrase,
        detail=str(error.detail),
        headers=headers,
    )


def _allowed(request: Request) -> str:
    """Name every method of a path as the document has it: each route knows only its own."""
    path = request.scope["path"]
    found: set[str] = set()
    for template, operations in request.app.openapi()["paths"].items():
        if template == path:
            found = set(operations)
            break
        if compile_path(template)[0].match(path):
            found |= set(operations)
    return ", ".join(sorted(method.upper() for method in found))


async def _on_validation(request: Request, error: Exception) -> Response:
    if not isinstance(error, RequestValidationError):
        return await _on_anything(request, error)
    wrong = [
        {"at": ".".join(str(part) for part in one["loc"]), "message": str(one["msg"])}
        for one in error.errors()[:20]
    ]
    first = wrong[0] if wrong else {"at": "body", "message": "not valid"}
    return problem(
        request,
        status=422,
        slug="bad-input",
        title="The input was not accepted",
        detail=f"{first['at']}: {first['message']}.",
        errors=wrong,
    )


async def _on_database(request: Request, error: Exception) -> Response:
    cause: BaseException = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    if isinstance(error, PoolTimeout):
        return problem(
            request,
            status=503,
            slug="overloaded",
            title="COS is asked for more than it can do at once",
            detail="Every connection to Postgres is busy; try again shortly.",
            headers={"Retry-After": "1"},
        )
    if isinstance(cause, asyncpg.DiskFullError):
        return cos_problem(
            request,
            DiskFull("The disk of Postgres is full: nothing of this request was kept; free some space."),
        )
    gone = isinstance(error, DBAPIError) and error.connection_invalidated
    if gone or isinstance(cause, db.LOST):
        return problem(
            request,
            status=503,
            slug="postgres-unreachable",
            title="Postgres does not answer",
            detail="The connection to Postgres was lost; nothing of this request was kept, try again shortly.",
            headers={"Retry-After": "1"},
        )
    return await _on_anything(request, error)


async def _on_client_gone(request: Request, error: Exception) -> Response:
    # Nobody reads this answer: the client went away in the middle of its own request, which is no fault of ours.
    del error
    _log.info("client_gone", path=request.url.path)
    return problem(
        request,
        status=400,
        slug="client-gone",
        title="The client went away",
        detail="The request has no end.",
    )


async def _on_anything(request: Request, error: Exception) -> Response:
    _log.error("request_failed", path=request.url.path, exc_info=error)
    return problem(
        request,
        status=500,
        slug="internal",
        title="Something went wrong inside COS",
        detail="COS failed to answer this request; its log has the details under this request id.",
    )


async def answer(request: Request, error: Exception) -> Response:
    """Give the problem document of any error, for who shows it in a shape of its own."""
    for kind, handle in _HANDLERS.items():
        if isinstance(error, kind):
            return await handle(request, error)
    return await _on_anything(request, error)


#: What answers an error of each family; the first that fits.
_HANDLERS: dict[type[Exception], Callable[[Request, Exception], Awaitable[Response]]] = {
    CosError: _on_cos_error,
    HTTPException: _on_http,
    RequestValidationError: _on_validation,
    DBAPIError: _on_database,
    PoolTimeout: _on_database,
    asyncpg.PostgresError: _on_database,
    OSError: _on_database,
    ClientDisconnect: _on_client_gone,
    Exception: _on_anything,
}


def install(app: FastAPI) -> None:
    """Turn every error that leaves a route into a problem document."""
    for kind, handle in _HANDLERS.items():
        app.add_exception_handler(kind, handle)
