"""Errors as problem documents: each kind of failure has its status, and none shows its inside."""

from __future__ import annotations

import asyncpg
import httpx
import pytest
import structlog
from fastapi import FastAPI
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from cos.backend import problems
from cos.errors import CosError, NotFound, TooLarge, Unavailable


@pytest.fixture
def answer_to():
    """Give the answer of a route that raises an error, and what was logged."""

    async def ask(error: Exception):
        app = FastAPI()
        problems.install(app)

        @app.get("/fails")
        async def fails() -> None:
            raise error

        transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            with structlog.testing.capture_logs() as logs:
                answer = await client.get("/fails")
        assert answer.headers["content-type"] == "application/problem+json"
        return answer, [entry["event"] for entry in logs]

    return ask


@pytest.mark.parametrize(
    ("error", "status", "slug"),
    [
        (NotFound("There is no x."), 404, "not-found"),
        (TooLarge("x", line=3), 413, "too-large"),
        (Unavailable(), 503, "unavailable"),
        (PoolTimeout(), 503, "overloaded"),
        (
            DBAPIError("SELECT 1", {}, ValueError("x"), connection_invalidated=True),
            503,
            "postgres-unreachable",
        ),
        (ConnectionResetError(), 503, "postgres-unreachable"),
        (asyncpg.CannotConnectNowError("starting"), 503, "postgres-unreachable"),
        (asyncpg.AdminShutdownError("bye"), 503, "postgres-unreachable"),
        (asyncpg.DiskFullError("could not extend file"), 507, "disk-full"),
    ],
)
async def test_what_is_expected(answer_to, error, status, slug) -> None:
    """Its status and type; what a later try may mend has a Retry-After; nothing is logged as a fault."""
    answer, logs = await answer_to(error)
    assert (answer.status_code, answer.json()["type"]) == (status, f"urn:cos:problem:{slug}")
    assert (answer.headers.get("retry-after") == "1") is (status == 503)
    assert logs == []
    if isinstance(error, CosError):
        assert answer.json()["detail"] == error.detail
        assert error.extra.items() <= answer.json().items()


@pytest.mark.parametrize(
    "error", [KeyError("secret"), asyncpg.UndefinedTableError("secret"), AssertionError("secret")]
)
async def test_what_is_not(answer_to, error) -> None:
    """A fault of ours: 500 without its inside, which the log has under the request's id."""
    answer, logs = await answer_to(error)
    assert (answer.status_code, answer.json()["type"]) == (500, "urn:cos:problem:internal")
    assert "secret" not in answer.text
    assert logs == ["request_failed"]
