"""The edge by itself: ids for the time of a request, and an answer for one that is given up on."""

from __future__ import annotations

import asyncio

import pytest

from cos.backend.edge import Edge
from cos.common import context


def scope(**headers: str) -> dict[str, object]:
    raw = [
        (name.replace("_", "-").encode(), value.encode())
        for name, value in {"host": "localhost", **headers}.items()
    ]
    return {
        "type": "http",
        "method": "GET",
        "path": "/x",
        "query_string": b"",
        "headers": raw,
        "scheme": "http",
    }


class Sent:
    """Collects what is sent."""

    def __init__(self) -> None:
        self.messages: list[dict] = []

    async def __call__(self, message: dict) -> None:
        self.messages.append(message)


async def nothing() -> dict[str, object]:
    return {"type": "http.request"}


async def test_the_ids_are_there_while_it_is_served_and_gone_after() -> None:
    """What runs inside sees them; the next request of the same task does not inherit them."""
    seen = []
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

    async def app(scope, receive, send) -> None:
        seen.append((context.request_id.get(), context.traceparent.get()))

    edge = Edge(app)
    await edge(scope(x_request_id="r-1", traceparent=parent), nothing, Sent())
    assert (context.request_id.get(), context.traceparent.get()) == (None, None)
    await edge(scope(x_request_id="r-2"), nothing, Sent())
    assert seen == [("r-1", parent), ("r-2", None)]


@pytest.mark.parametrize("begun", [False, True])
async def test_a_request_that_is_cancelled(begun) -> None:
    """503 unless its answer has begun; the cancellation goes on in either case."""
    inside = asyncio.Event()

    async def app(scope, receive, send) -> None:
        if begun:
            await send({"type": "http.response.start", "status": 200, "headers": []})
        inside.set()
        await asyncio.Event().wait()

    sent = Sent()
    task = asyncio.create_task(Edge(app)(scope(), nothing, sent))
    await inside.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [one["status"] for one in sent.messages if one["type"] == "http.response.start"] == [
        200 if begun else 503
    ]


async def test_what_is_no_request_passes() -> None:
    """Lifespan messages are the app's own business."""
    seen = []

    async def app(scope, receive, send) -> None:
        seen.append(scope["type"])

    await Edge(app)({"type": "lifespan"}, nothing, Sent())
    assert seen == ["lifespan"]
