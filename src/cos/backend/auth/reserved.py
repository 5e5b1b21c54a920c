"""Events that COS alone tells, because people rely on them to know who did what."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from cos.backend.auth.scopes import ADMIN

if TYPE_CHECKING:
    from cos.backend.auth.grants import Grant
    from cos.memory.event import Limits

#: Types that only an administrator may record by hand, as an import of another COS's log does.
RESERVED = frozenset(
    {
        "admin.acted",
        "config.reload_refused",
        "config.reloaded",
        "session.closed",
        "session.opened",
        "token.created",
        "token.revoked",
    }
)


def limits_for(grant: Grant, limits: Limits) -> Limits:
    """Give the limits of what somebody may record."""
    return limits if grant.scope >= ADMIN else replace(limits, reserved=RESERVED)
