"""Access: the tokens, and which administrative acts were done by whom."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from cos.backend.access import service
from cos.backend.access.audit import ACTED
from cos.backend.auth.policy import Policy
from cos.memory import reader

if TYPE_CHECKING:
    from cos.backend.dashboard.view import Asked
    from cos.common.messages import Envelope


class _By(msgspec.Struct):
    name: str


class _Told(msgspec.Struct):
    by: _By
    method: str
    path: str
    address: str | None = None


#: Acts that the page shows, newest first.
MOST_ACTS = 20


async def load(asked: Asked) -> dict[str, Any]:
    """Read the tokens, those that have ended too where they are asked for, and the last acts."""
    ended = asked.query.get("ended") == "1"
    async with asked.services.reads.connect() as db:
        tokens = await service.list_tokens(db, ended=ended)
        told = await reader.page(db, reader.Query(type=ACTED, module="cc", order="desc", limit=MOST_ACTS))
    return {
        "ended": ended,
        "tokens": tokens,
        "acts": [act for one in told.events if (act := _act(one)) is not None],
        "asks_for_tokens": Policy.of(asked.services.settings).asks_for_tokens,
    }


def _act(event: Envelope) -> dict[str, Any] | None:
    """Read what an event tells; None for one that an import or an older version wrote in another shape."""
    try:
        told = msgspec.json.decode(event.data, type=_Told)
    except msgspec.ValidationError:
        return None
    return {"id": event.id, "time": event.time, "told": told}
