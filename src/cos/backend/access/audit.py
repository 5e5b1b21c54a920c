"""The audit: each administrative act is an event that says who did it, whatever route served it.

An act is *owed* until it is told. Who tells it:

- The transaction that does it, as its last statement before the commit: act and event are both there, or neither.
- Where no transaction of its own wrote anything, the gate, before the first byte of the answer is sent.

The event is made once, with its id, so that it cannot be there twice however it comes into the log.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from sqlalchemy import event as hooks
from sqlalchemy import text
from sqlalchemy.orm import Session

from cos.backend.cc.logging import DOORBELL
from cos.common import context
from cos.common.after_commit import after_commit
from cos.memory.event import NewEvent, new_event
from cos.memory.l1_log import append_now

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import Scope

    from cos.backend.auth.gate import Audit
    from cos.backend.auth.grants import Grant
    from cos.memory.recorder import Recorder

ACTED = "admin.acted"
#: Who did it, where no token was asked for.
LOCAL = "this machine"

# A transaction that wrote, or locked a row in order to, has an id by then; one that only read has none.
_HAS_WRITTEN = text("SELECT pg_current_xact_id_if_assigned() IS NOT NULL")

_under_way: ContextVar[Act | None] = ContextVar("cos_act", default=None)


class Act:
    """One administrative act, until it is told.

    Attributes:
        is_told: whether its event is durable.
    """

    def __init__(self, *, recorder: Recorder, grant: Grant, done: Mapping[str, Any], scope: Scope) -> None:
        """Take who does what.

        Args:
            recorder: for an act that has no transaction of its own.
            grant: whose act it is.
            done: `method`, `path` and `address` of the request.
            scope: of the request; says after routing which route serves it.
        """
        self.is_told = False
        self._recorder = recorder
        self._grant = grant
        self._done = dict(done)
        self._scope = scope
        self._event: NewEvent | None = None

    @contextmanager
    def under_way(self) -> Iterator[None]:
        """Let the transactions that are committed in here tell the act; not those of tasks that outlive it."""
        before = _under_way.set(self)
        try:
            yield
        finally:
            self.is_told = True
            _under_way.reset(before)

    async def tell(self, status: int) -> None:
        """Record the act if no transaction has; returns when that is durable.

        Args:
            status: of the answer that is about to be sent.

        Raises:
            CosError: it could not be recorded.
        """
        if not self.is_told:
            await self._recorder.record(self.event(status))
            self.is_told = True

    def event(self, status: int | None) -> NewEvent:
        """Give its event, always the same one."""
        if self._event is None:
            grant = self._grant
            by = {"token": grant.token_id, "name": grant.name or LOCAL, "session": grant.session_id}
            answered = {} if status is None else {"status": status}
            self._event = new_event(
                type=ACTED,
                module="cc",
                data={"by": by, **self._done, **answered},
                subject=grant.token_id,
                request_id=context.request_id.get(),
                trace_id=context.trace_id_of(context.traceparent.get()),
                traceparent=context.traceparent.get(),
            )
        return self._event

    def tell_in(self, session: Session) -> None:
        """Write its event into the transaction that is about to be committed."""
        append_now(session, self.event(_status_of(self._scope)))
        after_commit(session, self._committed(session))

    def _committed(self, session: Session) -> Callable[[], None]:
        doorbell = session.info.get(DOORBELL)

        def told() -> None:
            self.is_told = True
            if doorbell is not None:
                doorbell.ring()

        return told


def audit_into(recorder: Recorder) -> Audit:
    """Give what makes an act of a request; the request's id ties it to the events of the act itself."""

    def begin(grant: Grant, done: Mapping[str, Any], scope: Scope) -> Act:
        return Act(recorder=recorder, grant=grant, done=done, scope=scope)

    return begin


def _status_of(scope: Scope) -> int | None:
    """Give the status with which a route answers what it has done; None where the route decides that later."""
    route = scope.get("route")
    if getattr(route, "response_model", None) is None:
        return None
    return int(getattr(route, "status_code", None) or HTTPStatus.OK)


def _before_commit(session: Session) -> None:
    act = _under_way.get()
    if act is None or act.is_told or session.get_nested_transaction() is not None:
        return  # a savepoint is released: the commit around it is still to come
    if session.execute(_HAS_WRITTEN).scalar_one():
        act.tell_in(session)


# Once for all sessions, as in `after_commit`: whichever of them a route uses, its commit tells the act.
hooks.listen(Session, "before_commit", _before_commit)
