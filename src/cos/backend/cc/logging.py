"""`log_l1`: record something in the transaction of whatever else is being written, and announce it after the commit."""

from __future__ import annotations

from contextlib import nullcontext
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

import msgspec
from sqlalchemy.ext.asyncio import AsyncSession

from cos.common import context
from cos.common.after_commit import after_commit
from cos.errors import BadInput
from cos.memory import l1_log
from cos.memory.event import DEFAULT_LIMITS, Limits, PromptTrace, new_event
from cos.memory.position import Position
from cos.memory.recorder import Doorbell

if TYPE_CHECKING:
    from cos.common.telemetry import Telemetry

DOORBELL = "cos.doorbell"
LIMITS = "cos.limits"
TELEMETRY = "cos.telemetry"

#: Names that older callers give to the members of a prompt trace.
_PROMPT_ALIASES = {
    "ms": "latency_ms",
    "milliseconds": "latency_ms",
    "duration_ms": "latency_ms",
    "execution_time_ms": "latency_ms",
    "input_tokens": "tokens_in",
    "prompt_tokens": "tokens_in",
    "token_count_input": "tokens_in",
    "output_tokens": "tokens_out",
    "completion_tokens": "tokens_out",
    "token_count_output": "tokens_out",
}


class L1Ids(msgspec.Struct, frozen=True):
    """What `log_l1` wrote.

    Attributes:
        base_log_id: the record.
        event_log_id: the event that is announced, which is the record: the log is the outbox.
        prompt_trace_id: the prompt trace, None without `prompt_data`.
        position: of the record in the log.
        duplicate: whether the idempotency key had been used before; then nothing was written.
    """

    base_log_id: UUID
    event_log_id: UUID
    prompt_trace_id: UUID | None
    position: Position
    duplicate: bool


async def log_l1(
    db: AsyncSession,
    event_type: str,
    payload: Any = None,
    prompt_data: dict[str, Any] | PromptTrace | None = None,
    request_id: str | None = None,
    trace_id: str | None = None,
    module: str = "cc",
    *,
    subject: str | None = None,
    level: str = "info",
    time: datetime | None = None,
    idempotency_key: str | None = None,
    traceparent: str | None = None,
    ordered: bool = False,
) -> L1Ids:
    """Record an event in the caller's transaction; never commits.

    After the outermost commit `_publish_l1_event` is called once for this record; after a rollback, of the savepoint
    around this call too, not at all.

    Args:
        db: whose transaction the record joins.
        event_type: what happened.
        payload: any JSON value.
        prompt_data: `prompt`, `response`, `model`, `latency_ms`, `tokens_in`, `tokens_out`, each optional.
        request_id: by default the one of the request being served.
        trace_id: by default the one of the trace being followed.
        module: who says so.
        subject: what it happened to.
        level: debug, info, warning, error or critical.
        time: when it happened, timezone-aware; by default now.
        idempotency_key: the same key again gives back the first record.
        traceparent: W3C trace context; by default the request's.
        ordered: positions follow the order of commits for this module and subject; must be the first write.

    Raises:
        BadInput: names what cannot be recorded.
        Conflict: `ordered` came too late.
        PostgresUnreachable: the connection was lost, and the transaction with it.
    """
    telemetry: Telemetry | None = db.info.get(TELEMETRY)
    around = (
        nullcontext()
        if telemetry is None or traceparent is not None
        else telemetry.span("log_l1", parent=context.traceparent.get(), attributes={"cos.type": event_type})
    )
    with around:  # the record carries this span, so that who handles it later stands below it
        parent = traceparent if traceparent is not None else context.traceparent.get()
        limits: Limits = db.info.get(LIMITS, DEFAULT_LIMITS)
        event = new_event(
            type=event_type,
            module=module,
            data=payload,
            subject=subject,
            level=level,
            request_id=request_id if request_id is not None else context.request_id.get(),
            trace_id=trace_id if trace_id is not None else context.trace_id_of(parent),
            traceparent=parent,
            time=time,
            idempotency_key=idempotency_key,
            prompt=prompt_trace(prompt_data),
            limits=limits,
        )
        recorded = await l1_log.append(db, event, ordered=ordered)
    ids = L1Ids(recorded.id, recorded.id, recorded.prompt_id, recorded.position, recorded.duplicate)
    if not recorded.duplicate:
        doorbell: Doorbell | None = db.info.get(DOORBELL)
        after_commit(db.sync_session, lambda: _publish_l1_event(ids, doorbell))
    return ids


def _publish_l1_event(ids: L1Ids, doorbell: Doorbell | None) -> None:
    """Tell the relay that a record was committed; the log itself is what it announces.

    A session that was made without a doorbell costs the event one poll interval of the relay, nothing else.
    """
    del ids  # named for whoever listens here: the relay reads the log
    if doorbell is not None:
        doorbell.ring()


def prompt_trace(given: dict[str, Any] | PromptTrace | None) -> PromptTrace | None:
    """Read a prompt trace; raises BadInput for a member that it does not have."""
    if given is None or isinstance(given, PromptTrace):
        return given
    if not isinstance(given, dict):
        raise BadInput("The prompt data is not an object.")
    members = {_PROMPT_ALIASES.get(name, name): value for name, value in given.items()}
    try:
        return msgspec.convert(members, PromptTrace)
    except UnicodeEncodeError:
        raise BadInput("The prompt data holds half of a surrogate pair, which is no valid text.") from None
    except msgspec.ValidationError as error:
        raise BadInput(
            f"The prompt data cannot be used: {error}. It may hold {', '.join(PromptTrace.__struct_fields__)}."
        ) from None
