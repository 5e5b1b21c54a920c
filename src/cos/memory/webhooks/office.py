"""What the API uses of the webhooks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cos.common.outbound import Outbound
    from cos.memory.webhooks.endpoint import Policy
    from cos.memory.webhooks.sender import Sender


@dataclass(frozen=True, kw_only=True)
class Office:
    """Given to the routes by the runtime.

    Attributes:
        outbound: judges addresses.
        sender: makes a try at once, for a test.
        policy: the rules.
        overlap_seconds: how long an exchanged secret signs beside the new one.
        changed: tells this process's dispatcher that something has changed, once that is committed.
    """

    outbound: Outbound
    sender: Sender
    policy: Policy
    overlap_seconds: float
    changed: Callable[[], None]
