"""The audit: each administrative act is an event that says who did it, whatever route served it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from cos.common import context
from cos.memory.event import new_event

if TYPE_CHECKING:
    from cos.backend.auth.gate import Audit
    from cos.backend.auth.grants import Grant
    from cos.memory.recorder import Recorder

ACTED = "admin.acted"
#: Who did it, where no token was asked for.
LOCAL = "this machine"


def audit_into(recorder: Recorder) -> Audit:
    """Give what records who did what; the request's id ties it to the events of the act itself."""

    async def record(grant: Grant, done: Mapping[str, Any]) -> None:
        by = {"token": grant.token_id, "name": grant.name or LOCAL, "session": grant.session_id}
        await recorder.record(
            new_event(
                type=ACTED,
                module="cc",
                data={"by": by, **done},
                subject=grant.token_id,
                request_id=context.request_id.get(),
                trace_id=context.trace_id_of(context.traceparent.get()),
                traceparent=context.traceparent.get(),
            )
        )

    return record
