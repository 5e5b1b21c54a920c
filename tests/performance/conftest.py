"""A real server to measure, and comparisons that are interleaved, so that a busy machine slows both sides alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import text

from cos.backend.app import create_app, with_edge
from cos.backend.cc.deps import CcDb
from cos.runtime.core import Core
from cos.runtime.server import ApiServer, bind


@pytest.fixture
async def served(core: Core) -> AsyncIterator[httpx.AsyncClient]:
    """The app on a real socket, with one bare route beside it that costs one round trip: the floor."""
    app: FastAPI = create_app(core.services())

    @app.get("/floor")
    async def floor(db: CcDb) -> dict[str, int]:
        return {"one": (await db.execute(text("SELECT 1"))).scalar_one()}

    server = ApiServer(app=with_edge(app), listener=bind(0), stop_timeout_seconds=2)
    await server.start()
    async with httpx.AsyncClient(base_url=server.url, trust_env=False) as client:
        yield client
    await server.stop()


Call = Callable[[], Awaitable[object]]


@pytest.fixture
def ratio_to() -> Callable[..., Awaitable[float]]:
    """Give how many times slower a call is than its floor: the median over rounds of A B B A."""

    async def measure(subject: Call, floor: Call, *, rounds: int = 30, warm_up: int = 3) -> float:
        async def seconds(call: Call) -> float:
            began = time.perf_counter()
            await call()
            return time.perf_counter() - began

        for _ in range(warm_up):
            await subject()
            await floor()
        ratios = []
        for _ in range(rounds):
            first, second, third, fourth = [await seconds(call) for call in (subject, floor, floor, subject)]
            ratios.append((first + fourth) / (second + third))
        return statistics.median(ratios)

    return measure
