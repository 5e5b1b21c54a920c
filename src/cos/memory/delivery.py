"""What a handler is given: an event with its data read as the type that the handler asks for."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from operator import attrgetter
from typing import Any, Generic, TypeVar
from uuid import UUID

import msgspec
import pydantic
from sqlalchemy.ext.asyncio import AsyncSession

from cos.common import messages
from cos.common.messages import Envelope
from cos.common.subscriber_policy import Unfit
from cos.errors import BadSetting
from cos.memory.misfit import misfit
from cos.memory.position import Position

T = TypeVar("T")

Handler = Callable[..., Awaitable[Any]]
Sessions = Callable[[], AbstractAsyncContextManager[AsyncSession]]


class Event(Generic[T]):
    """One event, as a handler sees it.

    Attributes:
        envelope: the whole event.
        data: its data, as the handler's type; plain Python values for `Event` without a type.
        attempt: which attempt this is, 1 for the first.
    """

    __slots__ = ("attempt", "data", "envelope")

    def __init__(self, envelope: Envelope, data: T, attempt: int = 1) -> None:
        """Put the two together."""
        self.envelope = envelope
        self.data = data
        self.attempt = attempt

    @property
    def id(self) -> UUID:
        """Give the record's id, the same at each delivery."""
        return self.envelope.id

    @property
    def type(self) -> str:
        """Say what happened."""
        return self.envelope.type

    @property
    def module(self) -> str:
        """Say who says so."""
        return self.envelope.module

    @property
    def subject(self) -> str | None:
        """Say what it happened to."""
        return self.envelope.subject

    @property
    def time(self) -> datetime:
        """Say when it happened."""
        return self.envelope.time

    @property
    def position(self) -> Position:
        """Give its place in the log."""
        return Position.parse(self.envelope.position)


class Types:
    """Which event types are wanted: exact ones, and beginnings that end in `*`; all where none is named."""

    def __init__(self, wanted: Sequence[str] | None) -> None:
        """Take the names."""
        names = wanted or ()
        self._all = not names
        self._exact = frozenset(one for one in names if not one.endswith("*"))
        self._beginnings = tuple(one[:-1] for one in names if one.endswith("*"))

    def want(self, name: str) -> bool:
        """Say whether a type is wanted."""
        return (
            self._all or name in self._exact or (bool(self._beginnings) and name.startswith(self._beginnings))
        )


Shape = typing.Literal["event", "data", "envelope", "session"]


@dataclass(frozen=True, slots=True)
class Binding:
    """How a handler is called, read from its annotations.

    Attributes:
        many: whether it takes a list.
        arguments: name and shape of each parameter.
        read: reads the data.
    """

    many: bool
    arguments: tuple[tuple[str, Shape], ...]
    read: Callable[[msgspec.Raw], Any]

    @classmethod
    def of(cls, handler: Handler) -> Binding:
        """Read the annotations.

        The first parameter is the event (`Event`, `Event[Model]`, `Envelope`) or its data (any other annotation), or a
        `list` of these. A further one may be annotated `Event` or `AsyncSession`: the latter is a transaction that is
        committed when the handler returns.

        Raises:
            BadSetting: the handler cannot be called with an event.
        """
        name = getattr(handler, "__qualname__", repr(handler))
        if not inspect.iscoroutinefunction(handler if inspect.isroutine(handler) else type(handler).__call__):
            raise BadSetting(f"The handler {name} is not an async function; write `async def`.")
        parameters = list(inspect.signature(handler).parameters.values())
        if not parameters:
            raise BadSetting(f"The handler {name} takes nothing; its first parameter is the event.")
        hints = _hints(handler, name)
        first = hints.get(parameters[0].name, Event)
        many = typing.get_origin(first) in (list, Sequence) or first is list
        inner = (typing.get_args(first) or (Event,))[0] if many else first
        shape, data = _shape(inner)
        arguments: list[tuple[str, Shape]] = [(parameters[0].name, shape)]
        for one in parameters[1:]:
            more, _ = _shape(hints.get(one.name))
            if more == "session" or (more == "event" and not many):
                arguments.append((one.name, more))
            elif one.default is inspect.Parameter.empty:
                raise BadSetting(
                    f"The handler {name} has a parameter {one.name!r} that nothing is known to give; "
                    "annotate it Event or AsyncSession, or give it a default."
                )
        return cls(many, tuple(arguments), _reader(data, name))

    @property
    def alone(self) -> Callable[[Event[Any]], Any] | None:
        """Give what a handler that takes one event and nothing else is given of it; None for every other one."""
        if self.many or len(self.arguments) > 1:
            return None
        return _PARTS.get(self.arguments[0][1])


_PARTS: dict[Shape, Callable[[Event[Any]], Any]] = {
    "event": lambda event: event,
    "data": attrgetter("data"),
    "envelope": attrgetter("envelope"),
}


def _hints(handler: Handler, name: str) -> dict[str, Any]:
    try:
        return typing.get_type_hints(handler if inspect.isroutine(handler) else type(handler).__call__)
    except (NameError, TypeError) as error:
        raise BadSetting(
            f"The annotations of the handler {name} cannot be read: {error}. Types that they name "
            "must stand at the top of a module."
        ) from None


def _shape(annotation: Any) -> tuple[Shape, Any]:
    """Give how a parameter is filled, and the type of the data where one is named."""
    if annotation is Envelope:
        return "envelope", msgspec.Raw
    if annotation is Event:
        return "event", None
    if typing.get_origin(annotation) is Event:
        return "event", typing.get_args(annotation)[0]
    if inspect.isclass(annotation) and issubclass(annotation, AsyncSession):
        return "session", None
    return "data", annotation


def _reader(wanted: Any, name: str) -> Callable[[msgspec.Raw], Any]:
    if wanted is msgspec.Raw:
        return lambda raw: raw
    if inspect.isclass(wanted) and issubclass(wanted, pydantic.BaseModel):
        validate = wanted.model_validate_json
        return lambda raw: validate(bytes(raw))
    if wanted is None or isinstance(wanted, TypeVar):
        return msgspec.json.decode
    try:
        return msgspec.json.Decoder(wanted).decode
    except TypeError:
        pass
    try:
        adapter = pydantic.TypeAdapter(wanted)
    except pydantic.errors.PydanticSchemaGenerationError:
        raise BadSetting(
            f"The handler {name} asks for data as {wanted!r}, which neither msgspec nor pydantic can read."
        ) from None
    return lambda raw: adapter.validate_json(bytes(raw))


class Reading:
    """Reads entries into events for one handler."""

    def __init__(self, *, binding: Binding, types: Types) -> None:
        """Take what is wanted."""
        self._read = binding.read
        self._types = types

    def event(self, body: bytes) -> Event[Any] | None:
        """Read one; None when its type is not wanted.

        Raises:
            Unfit: it is no event, or its data does not fit the handler's type.
        """
        try:
            envelope = messages.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise Unfit(f"The entry is no event: {error}.") from error
        if not self._types.want(envelope.type):
            return None
        try:
            return Event(envelope, self._read(envelope.data))
        except (msgspec.MsgspecError, pydantic.ValidationError, UnicodeDecodeError, RecursionError) as error:
            raise misfit(envelope.type, "handler", error) from error


async def call(
    handler: Handler, binding: Binding, events: Sequence[Event[Any]], sessions: Sessions | None
) -> None:
    """Call a handler; where it takes a session, in a transaction that is committed when it has returned."""
    first: dict[Shape, Any] = {}
    if binding.many:
        shape = binding.arguments[0][1]
        first[shape] = [_as(shape, one) for one in events]
    else:
        first = {"event": events[0], "data": events[0].data, "envelope": events[0].envelope}
    if not any(shape == "session" for _, shape in binding.arguments):
        await handler(*(first[shape] for _, shape in binding.arguments))
        return
    if sessions is None:
        raise BadSetting("This handler takes a session, and none can be made here.")
    async with sessions() as session, session.begin():
        given = first | {"session": session}
        await handler(**{name: given[shape] for name, shape in binding.arguments})


def _as(shape: Shape, event: Event[Any]) -> Any:
    if shape == "envelope":
        return event.envelope
    return event if shape == "event" else event.data
