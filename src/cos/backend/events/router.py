"""The events routes."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import UUID

import msgspec
from fastapi import APIRouter, Query, Request, Response, WebSocket
from pydantic import BeforeValidator

from cos.backend.auth.gate import grant_of
from cos.backend.auth.reserved import limits_for
from cos.backend.cc.schemas import written_out
from cos.backend.deps import ReadDb, Services, ServicesDep, read_body
from cos.backend.events import service
from cos.backend.events.live import Live, over_websocket
from cos.backend.events.schemas import answers
from cos.backend.problems import problems
from cos.errors import BadInput, NotFound
from cos.memory import reader
from cos.memory.feed import Wanted
from cos.memory.position import Position

router = APIRouter(tags=["events"])

Written = Annotated[datetime, BeforeValidator(written_out)]
_JSON = "application/json"
_UNACCEPTABLE = 1008  # a WebSocket's close code: the message breaks the rules
_LINES = ("application/x-ndjson", "application/jsonl", "application/x-jsonlines", "application/ndjson")

_EVENT_IN = {"$ref": "#/components/schemas/EventIn"}
_POST_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            _JSON: {"schema": {"oneOf": [_EVENT_IN, {"type": "array", "items": _EVENT_IN}]}},
            "application/x-ndjson": {"schema": {"type": "string", "description": "one event a line"}},
        },
    }
}


@router.post(
    "/events",
    status_code=201,
    responses={
        200: {
            "description": "Nothing new, or a stream of lines",
            **answers("Receipt", "Receipts", "StreamReceipt"),
        },
        201: answers("Receipt", "Receipts"),
        **problems(403, 413, 415, 422, 503),
    },
    openapi_extra=_POST_BODY,
)
async def record_events(request: Request, services: ServicesDep) -> Response:
    """Record one event, an array of events (all or none), or a stream of lines.

    The answer comes when they are durable. `idempotency_key` in an event, or the header `Idempotency-Key` for a single
    one, makes a repetition harmless: it gives back the first record, with status 200.
    """
    limits = limits_for(grant_of(request), services.limits)
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind in _LINES:
        return _answer(200, await service.record_stream(services, request.stream(), limits=limits))
    if kind != _JSON:
        raise UnsupportedMediaType(
            f"The content type {ascii(kind)[:60]} is not taken; send application/json for one event or an array, "
            "application/x-ndjson for lines."
        )
    body = await read_body(request)
    if body.lstrip()[:1] == b"[":
        many = await service.record_array(services, body, limits=limits)
        return _answer(201 if many.recorded else 200, many)
    one = await service.record_one(services, body, request.headers.get("idempotency-key"), limits=limits)
    return _answer(200 if one.duplicate else 201, one, {"Location": f"/events/{one.id}"})


class UnsupportedMediaType(BadInput):
    """This content type is not taken."""

    status = 415
    slug = "unsupported-media-type"


@router.get("/events", responses={200: answers("Page"), **problems(422, 503)})
async def list_events(
    db: ReadDb,
    module: str | None = None,
    type: Annotated[str | None, Query(description="exact, or a beginning with `*`")] = None,  # noqa: A002
    subject: str | None = None,
    since: Annotated[Written | None, Query(description="happened at this time or later")] = None,
    until: Annotated[Written | None, Query(description="happened before this time")] = None,
    after: Annotated[str | None, Query(description="position to go on from")] = None,
    before: Annotated[str | None, Query(description="position to stop before")] = None,
    order: reader.Order = "asc",
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    settled: Annotated[
        bool, Query(description="leave out what an open transaction may still precede")
    ] = False,
) -> Response:
    """List events by position, a page at a time: `next` of one is `after` (newest first: `before`) of the next."""
    for text in (module, type, subject):
        if text is not None and "\x00" in text:
            raise BadInput("A filter holds a NUL character, which no event has.")
    query = reader.Query(
        module=module,
        type=type,
        subject=subject,
        since=_aware("since", since),
        until=_aware("until", until),
        after=None if after is None else Position.parse(after),
        before=None if before is None else Position.parse(before),
        order=order,
        limit=limit,
        settled=settled,
    )
    return _answer(200, await reader.page(db, query))


@router.get(
    "/events/stream",
    response_class=Response,
    responses={
        200: {"description": "The events", "content": {"text/event-stream": {}}},
        **problems(422, 503),
    },
)
async def follow_events(
    request: Request,
    services: ServicesDep,
    module: str | None = None,
    type: Annotated[str | None, Query(description="exact, or a beginning with `*`")] = None,  # noqa: A002
    subject: str | None = None,
    since: Annotated[str | None, Query(description="position to begin after; now when absent")] = None,
) -> Response:
    """Follow the log live, as server-sent events in the order of the log, each once.

    `id` is the position; a client that comes back with `Last-Event-ID` (or `?since=`) misses nothing and gets nothing
    twice. A reader that is too slow is told so by the event `too-slow`, and let go.
    """
    begin = request.headers.get("last-event-id") or since
    return Live(feed=services.feed, wanted=_wanted(module, type, subject), since=_position(begin))


@router.websocket("/events/ws")
async def follow_over_websocket(websocket: WebSocket) -> None:
    """Follow the log live over a WebSocket: one JSON text message an event; the same filters and `since`."""
    query = websocket.query_params
    services: Services = websocket.app.state.services
    try:
        wanted = _wanted(query.get("module"), query.get("type"), query.get("subject"))
        since = _position(query.get("since"))
    except BadInput as error:
        await websocket.accept()
        await websocket.close(_UNACCEPTABLE, error.detail[:120])
        return
    await over_websocket(websocket, feed=services.feed, wanted=wanted, since=since)


@router.get("/events/{event_id}", responses={200: answers("Envelope"), **problems(404, 422, 503)})
async def get_event(event_id: UUID, db: ReadDb) -> Response:
    """Give one event, with its prompt trace where it has one."""
    found = await reader.get(db, event_id)
    if found is None:
        raise NotFound(f"There is no event {event_id}.")
    envelope, prompt = found
    if prompt is None:
        return _answer(200, envelope)
    # Not the struct's members one by one: those without a value are left out, as the envelope alone leaves them out.
    members = msgspec.json.decode(msgspec.json.encode(envelope), type=dict[str, msgspec.Raw])
    return _answer(200, {**members, "prompt": prompt})


def _wanted(module: str | None, type_: str | None, subject: str | None) -> Wanted:
    for text in (module, type_, subject):
        if text is not None and "\x00" in text:
            raise BadInput("A filter holds a NUL character, which no event has.")
    return Wanted(module, type_, subject)


def _position(given: str | None) -> Position | None:
    return None if given is None else Position.parse(given)


def _aware(name: str, time: datetime | None) -> datetime | None:
    if time is None:
        return None
    if time.tzinfo is None:
        raise BadInput(f"The time {name}={time.isoformat()} has no timezone; add one, for example Z.")
    try:
        return time.astimezone(UTC)
    except OverflowError:
        raise BadInput(f"The time {name}={time.isoformat()} is outside the years 1 to 9999 in UTC.") from None


def _answer(status: int, content: Any, headers: dict[str, str] | None = None) -> Response:
    return Response(msgspec.json.encode(content), status_code=status, media_type=_JSON, headers=headers)
