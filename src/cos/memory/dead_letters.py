"""Dead letters: what a group could not handle, kept in Postgres until a person decides, and delivered again when asked.

States, and who moves them:

- *dead*: a group gave up on it. A person requeues it, or drops it.
- *queued*: a person asked for one more delivery.
- *delivering*: a consumer of that group took it, committed before the handler is called: one requeue, one delivery.
- *delivered*: the handler returned. When it fails, or its consumer falls silent, it is dead again.
"""

from __future__ import annotations

import traceback as tracebacks
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import asyncpg
import msgspec
import structlog

from cos.common import clock, db, ids, messages
from cos.common.subscriber_policy import Message, Stream
from cos.memory import highway_sql
from cos.memory.position import Position

if TYPE_CHECKING:
    from cos.common.pool import Connection, Pool
    from cos.memory.log_source import LogSource

_log = structlog.get_logger("cos.dead_letters")

POLL_SECONDS = 1.0
MAX_ERROR = 2_000
MAX_TRACEBACK = 20_000
#: How much longer than a call may take a delivery may be silent.
_LEASE_GRACE_SECONDS = 30.0


def told(error: BaseException) -> tuple[str, str]:
    """Give an error in one sentence, and its traceback, as text that can be stored."""
    said = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    trace = "".join(tracebacks.format_exception(error))
    return storable(said)[:MAX_ERROR], storable(trace)[-MAX_TRACEBACK:]


def storable(text: str) -> str:
    """Give text without what Postgres cannot hold."""
    return text.replace("\x00", "\\0").encode("utf-8", "replace").decode()


class Graveyard:
    """Buries a group's messages; a `cos.common.subscriber_policy.Graves`."""

    def __init__(self, *, group: str, pool: Pool, source: LogSource) -> None:
        """Take the group, the connections, and what knows where a stream belongs."""
        self._group = group
        self._pool = pool
        self._source = source

    async def bury(self, message: Message, error: BaseException) -> None:
        """Keep the message, once however often it comes; raises CosError when Postgres does not answer."""
        module, number = self._source.place_of(message.stream)
        xact, _, seq = message.id.decode().partition("-")
        kind, subject, body = _read(message.body or b"null")
        said, trace = told(error)
        arguments = (
            ids.uuid7(),
            self._group,
            number,
            module,
            int(xact),
            int(seq),
            kind,
            subject,
            body,
            said,
            trace,
            max(message.begun, 1),
            clock.now(),
        )
        async with connected(self._pool) as connection:
            await connection.execute(highway_sql.BURY, *arguments)
        _log.error(
            "dead_letter", group=self._group, module=module, position=f"{xact}-{seq}", error=said[:300]
        )


class Redelivery:
    """Delivers a group's requeued letters, each once; a background part."""

    def __init__(
        self,
        *,
        group: str,
        pool: Pool,
        deadline_seconds: float,
        handle: Callable[[Message], Awaitable[None]],
    ) -> None:
        """Take what is needed.

        Args:
            group: whose letters.
            pool: to Postgres.
            deadline_seconds: how long the handler may take.
            handle: calls the group's handler; returning means that it is done.
        """
        self.delivered = 0
        self._group = group
        self._pool = pool
        self._deadline_seconds = deadline_seconds
        self._handle = handle

    async def turn(self) -> float:
        """Deliver one letter, if one is queued; raises CosError when Postgres does not answer."""
        async with connected(self._pool) as connection:
            await connection.execute(highway_sql.EXPIRE_DELIVERING, self._group)
            row = await connection.fetchrow(
                highway_sql.TAKE_QUEUED, self._group, self._deadline_seconds + _LEASE_GRACE_SECONDS
            )
        if row is None:
            return POLL_SECONDS
        position = Position(row["xact"], row["seq"])
        message = Message(
            stream=Stream("", "", ""),
            key="",
            id=str(position).encode(),
            body=row["event"].encode(),
            begun=row["attempts"] + 1,
        )
        more: tuple[Any, ...] = ()
        try:
            await self._handle(message)
        except Exception as error:  # noqa: BLE001  (whatever it is, it is kept with the letter)
            said, trace = told(error)
            statement = highway_sql.DIED_AGAIN
            more = (said, trace, clock.now())
            _log.error("dead_letter_failed_again", group=self._group, letter=str(row["id"]), error=said[:300])
        else:
            statement = highway_sql.DELIVERED
            self.delivered += 1
        async with connected(self._pool) as connection:
            await connection.execute(statement, row["id"], row["deliveries"], *more)
        return 0


@asynccontextmanager
async def connected(pool: Pool) -> AsyncIterator[Connection]:
    """Lend a connection, and give every failure of it in words."""
    async with pool.connection() as connection:
        try:
            yield connection
        except (*db.LOST, asyncpg.PostgresError) as error:
            raise pool.explain(error) from error


def _read(body: bytes) -> tuple[str | None, str | None, str]:
    """Give type, subject and JSON text of an entry; one that is no JSON becomes JSON text."""
    try:
        envelope = messages.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        pass
    else:
        return envelope.type, envelope.subject, body.decode()
    try:
        value: Any = msgspec.json.decode(body)
        text = body.decode()
    except (msgspec.DecodeError, UnicodeDecodeError):
        text = msgspec.json.encode(storable(body.decode("utf-8", "backslashreplace"))).decode()
        return None, None, text
    kind = value.get("type") if isinstance(value, dict) else None
    return kind if isinstance(kind, str) else None, None, text
