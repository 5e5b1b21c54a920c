"""The live part of the page: an endless answer of server-sent events, each a part of the page that has changed."""

from __future__ import annotations

import itertools
from contextlib import contextmanager
from typing import TYPE_CHECKING

import structlog
from sqlalchemy.exc import SQLAlchemyError

from cos.backend.auth.gate import grant_of
from cos.backend.dashboard import health, pages
from cos.backend.dashboard.view import Asked
from cos.backend.deps import stops_within
from cos.common import db
from cos.errors import CosError, Overloaded

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from typing import Any

    from starlette.requests import Request

    from cos.backend.dashboard.view import View
    from cos.backend.deps import Services

_log = structlog.get_logger("cos.dashboard")

TICK_SECONDS = 0.5
#: Nothing changed for so long: something is sent all the same, so that both sides know that the other is there.
HEARTBEAT_TICKS = 10
RETRY_MS = 1000
#: Viewers of one process; each costs a look at its view twice a second.
MOST_VIEWERS = 64


class Viewers:
    """Counts who looks at this process's pages at the moment."""

    def __init__(self) -> None:
        """Begin with nobody."""
        self._count = 0

    def check(self) -> None:
        """Raise Overloaded when there are too many."""
        if self._count >= MOST_VIEWERS:
            raise Overloaded(f"{MOST_VIEWERS} pages are open already; close one, and this one becomes live.")

    @contextmanager
    def one(self) -> Iterator[None]:
        """Count one more, until it is left."""
        self._count += 1
        try:
            yield
        finally:
            self._count -= 1


async def changes(
    *, request: Request, view: View, services: Services, viewers: Viewers, boot: str
) -> AsyncIterator[bytes]:
    """Yield the view's parts whenever they differ from what was sent; all of them at first.

    Args:
        request: of the viewer, for the query of the page's address.
        view: what is looked at.
        services: to load it.
        viewers: counts this one.
        boot: tells one run of COS from another; a page of an earlier run loads itself anew.
    """
    with viewers.one():
        yield f"retry: {RETRY_MS}\nevent: hello\ndata: {boot}\n\n".encode()
        query, origin = dict(request.query_params), str(request.base_url).rstrip("/")
        sent: dict[str, str] = {}
        quiet = 0
        for tick in itertools.count():
            report = await health.report(services)
            context: dict[str, Any] = {"report": report, "oob": True, "csrf": grant_of(request).csrf}
            found = {name: pages.render(f"parts/{name}.html", context) for name in ("state", "dead")}
            if tick % view.every == 0:
                found |= await _parts(
                    view, Asked(services=services, report=report, query=query, origin=origin), context
                )
            changed = {name: text for name, text in found.items() if sent.get(name) != text}
            sent |= changed
            quiet = 0 if changed else quiet + 1
            if quiet >= HEARTBEAT_TICKS:
                quiet = 0
                yield b"event: beat\ndata:\n\n"
            for name, text in changed.items():
                yield _event(f"part-{name}", text)
            if await stops_within(request, TICK_SECONDS):
                yield b"event: bye\ndata:\n\n"
                return


async def _parts(view: View, asked: Asked, context: dict[str, Any]) -> dict[str, str]:
    try:
        whole = context | await view.load(asked)
    except (CosError, SQLAlchemyError, *db.LOST) as error:
        # The state says why; what was there stays, and comes up to date when it can be read again.
        _log.debug("part_not_read", view=view.name, error=str(error))
        return {}
    return {name: pages.render(f"parts/{name}.html", whole) for name in view.parts}


def _event(part: str, text: str) -> bytes:
    lines = "".join(f"data: {line}\n" for line in [part, *text.splitlines()])
    return f"event: part\n{lines}\n".encode()
