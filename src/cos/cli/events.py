"""The commands that record and read events."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cos.cli.options import ApiUrl, DataDir, Json, settings
from cos.cli.screen import say, show_json, show_table, standard_input

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx

_POLL_SECONDS = 0.25
#: The feed sends a heartbeat four times as often.
_FEED_TIMEOUT = 60.0
_RETRY_LIMIT_SECONDS = 60.0
_SHOWN_DATA = 80

Module = Annotated[str | None, typer.Option("--module", "-m", help="Of this module only.")]
Type = Annotated[
    str | None, typer.Option("--type", "-t", help="Of this type only; a trailing * matches more.")
]
Subject = Annotated[str | None, typer.Option("--subject", "-s", help="About this subject only.")]


def add_to(app: typer.Typer) -> None:
    """Add these commands to the tree."""
    app.command(name="log")(log)
    app.command(name="events")(events)
    app.command(name="tail")(tail)


def log(
    event_type: Annotated[str, typer.Argument(metavar="TYPE", help="What happened, such as chapter.saved.")],
    data: Annotated[str, typer.Option("--data", help="JSON, or - to read it from standard input.")] = "null",
    module: Annotated[str, typer.Option("--module", "-m", help="Who says so.")] = "cc",
    subject: Annotated[str | None, typer.Option("--subject", "-s", help="What it happened to.")] = None,
    level: Annotated[str, typer.Option("--level", help="debug, info, warning, error or critical.")] = "info",
    time: Annotated[str | None, typer.Option("--time", help="When, such as 2026-01-31T12:00:00Z.")] = None,
    key: Annotated[str | None, typer.Option("--key", help="The same key again records nothing new.")] = None,
    data_dir: DataDir = None,
    api_url: ApiUrl = None,
    as_json: Json = False,
) -> None:
    """Record one event; returns when it is durable."""
    from cos.cli.client import answer, api
    from cos.errors import BadInput

    # Bytes, not text: an argument or a standard input that is no UTF-8 is the user's mistake, not ours.
    given = standard_input().read() if data == "-" else os.fsencode(data)
    try:
        text = given.decode()
        json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadInput(
            f"The data is not JSON ({error}); text needs quotes of its own: --data '\"some text\"'."
        ) from None
    members = {
        "type": event_type,
        "module": module,
        "subject": subject,
        "level": level,
        "time": time,
        "idempotency_key": key,
    }
    # The data goes out as it was typed, so that what is recorded is what was given.
    head = json.dumps({name: value for name, value in members.items() if value is not None})
    body = f'{head[:-1]}, "data": {text}}}'
    with api(settings(data_dir=data_dir), api_url) as client:
        done = answer(
            client.post("/events", content=body.encode(), headers={"content-type": "application/json"})
        )
    if as_json:
        show_json(done)
    else:
        say(f"{done['id']}  {done['position']}{'  (recorded before)' if done['duplicate'] else ''}")


def events(
    module: Module = None,
    event_type: Type = None,
    subject: Subject = None,
    since: Annotated[str | None, typer.Option("--since", help="Happened at this time or later.")] = None,
    until: Annotated[str | None, typer.Option("--until", help="Happened before this time.")] = None,
    after: Annotated[
        str | None, typer.Option("--after", help="Recorded after this position, oldest first.")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=1000, help="How many.")] = 20,
    data_dir: DataDir = None,
    api_url: ApiUrl = None,
    as_json: Json = False,
) -> None:
    """List the newest events, or those after a position."""
    from cos.cli.client import answer, api

    wanted = {
        "module": module,
        "type": event_type,
        "subject": subject,
        "since": since,
        "until": until,
        "after": after,
        "limit": str(limit),
        "order": "asc" if after is not None else "desc",
    }
    with api(settings(data_dir=data_dir), api_url) as client:
        page = answer(
            client.get("/events", params={name: value for name, value in wanted.items() if value is not None})
        )
    found = page["events"] if after is not None else page["events"][::-1]
    if as_json:
        show_json({"events": found, "next": page["next"]})
        return
    show_table(("position", "time", "module", "type", "subject", "data"), [_row(event) for event in found])


def tail(
    module: Module = None,
    event_type: Type = None,
    subject: Subject = None,
    since: Annotated[
        str | None,
        typer.Option("--since", help="Begin after this position; 0-0 is the beginning of the log."),
    ] = None,
    data_dir: DataDir = None,
    api_url: ApiUrl = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a line.")] = False,
) -> None:
    """Follow the log live, each event once and in order, until Ctrl-C."""
    import time

    from cos.cli.client import api
    from cos.errors import NotRunning, Unavailable

    filters = {"module": module, "type": event_type, "subject": subject}
    params = {name: value for name, value in filters.items() if value is not None}
    given = settings(data_dir=data_dir)
    after = since
    lost_seconds = 0.0
    connected = False
    while True:
        try:
            with api(given, api_url) as client:
                after = _last_position(client) if after is None else after
                for position, event in _followed(client, params, after):
                    after, connected, lost_seconds = position, True, 0.0
                    if event is not None:
                        say(json.dumps(event, ensure_ascii=False) if as_json else "  ".join(_row(event)))
                        sys.stdout.flush()
        except (Unavailable, NotRunning):
            if not connected or lost_seconds > _RETRY_LIMIT_SECONDS:
                raise
        # COS may only be restarting: the position is ours, so nothing is missed.
        lost_seconds += _POLL_SECONDS
        time.sleep(_POLL_SECONDS)


def _followed(
    client: httpx.Client, params: dict[str, str], after: str
) -> Iterator[tuple[str, dict[str, Any] | None]]:
    """Give each event of the live feed with its position; first a None, when the feed stands."""
    from cos.cli.client import answer

    with client.stream(
        "GET", "/events/stream", params={**params, "since": after}, timeout=_FEED_TIMEOUT
    ) as feed:
        if not feed.is_success:
            feed.read()
            answer(feed)
        yield after, None
        data: list[str] = []
        for line in feed.iter_lines():
            name, _, value = line.partition(": ")
            if name == "id":
                after = value
            elif name == "data":
                data.append(value)
            elif name == "event":
                return  # the feed says that it ends, and why; what is missed is asked for again
            elif not line and data:
                yield after, json.loads("\n".join(data))
                data = []


def _last_position(client: httpx.Client) -> str:
    from cos.cli.client import answer

    newest = answer(client.get("/events", params={"order": "desc", "limit": "1", "settled": "true"}))[
        "events"
    ]
    return str(newest[0]["position"]) if newest else "0-0"


def _row(event: dict[str, Any]) -> tuple[str, ...]:
    data = json.dumps(event.get("data"), ensure_ascii=False)
    return (
        event["position"],
        event["time"][:19].replace("T", " "),
        event["module"],
        event["type"],
        event.get("subject", ""),
        data if len(data) <= _SHOWN_DATA else data[: _SHOWN_DATA - 1] + "…",
    )
