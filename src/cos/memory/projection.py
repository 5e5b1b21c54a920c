"""What a projection is: a name, a version, how its tables are made, and what it does with each batch of events."""

from __future__ import annotations

import inspect
import re
import typing
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from cos.errors import BadSetting
from cos.memory.delivery import Binding, Event, Types

Apply = Callable[..., Awaitable[Any]]
OnPoison = Literal["stop", "bury"]

_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
#: Most events that one transaction of a projection takes.
MAX_BATCH = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Projection:
    """A view of the log, kept in tables of its own.

    Attributes:
        name: a small letter, then small letters, digits and `_`, at most 40; its tables are in `projection_<name>`.
        version: of the code; a higher one is built beside the old tables from the beginning, then takes their place.
        setup: statements that make the tables, or an async function of a connection that does; unqualified names are
            made in the projection's own schema.
        apply: async, takes a connection and a list of events, in the order of the log; what it writes there and the
            projection's cursor are committed together.
        modules: whose events; None for all.
        types: which types, a trailing `*` matching more; None for all.
        batch: most events of one transaction.
        attempts: how often an event is tried before it stops the projection, or is buried.
        on_poison: what happens then: `stop`, or `bury` to go on and keep the event as a dead letter.
    """

    name: str
    apply: Apply
    setup: Sequence[str] | Apply = ()
    version: int = 1
    modules: tuple[str, ...] | None = None
    types: tuple[str, ...] | None = None
    batch: int = 1000
    attempts: int = 5
    on_poison: OnPoison = "stop"
    read: Callable[[Any], Any] = field(init=False)

    def __post_init__(self) -> None:
        """Check what can be checked; raises BadSetting."""
        if _NAME.fullmatch(self.name) is None:
            raise BadSetting(
                f"The projection {ascii(self.name)[:80]} is not allowed: a small letter, then small letters, digits "
                "and _, at most 40 characters."
            )
        for name, least, most in (("version", 1, 2**31 - 1), ("batch", 1, MAX_BATCH), ("attempts", 1, 1000)):
            if not least <= getattr(self, name) <= most:
                raise BadSetting(
                    f"The projection {self.name}'s {name} must be from {least} to {most}, not {getattr(self, name)}."
                )
        if self.on_poison not in ("stop", "bury"):
            raise BadSetting(f"The projection {self.name} can stop or bury, not {self.on_poison!r}.")
        object.__setattr__(self, "read", _reading(self.apply))

    @property
    def wanted(self) -> Types:
        """Give which types are wanted."""
        return Types(self.types)

    def describe(self) -> dict[str, Any]:
        """Give it as JSON values."""
        return {
            "handler": f"{self.apply.__module__}.{getattr(self.apply, '__qualname__', '')}",
            "modules": None if self.modules is None else list(self.modules),
            "types": None if self.types is None else list(self.types),
            "batch": self.batch,
            "on_poison": self.on_poison,
        }

    def schema(self, slot: str) -> str:
        """Give the schema of a slot: `live`, `next` or `old`."""
        return f"projection_{self.name}" if slot == "live" else f"projection_{self.name}__{slot}"


def _reading(apply: Apply) -> Callable[[Any], Any]:
    """Find out how the events' data is read: from the second parameter, a list of `Event` or `Event[Model]`."""
    parameters = list(inspect.signature(apply).parameters.values())
    name = getattr(apply, "__qualname__", repr(apply))
    if len(parameters) != 2:  # noqa: PLR2004
        raise BadSetting(f"The projection {name} must take a connection and a list of events.")

    async def events_only(events: Any) -> None:
        del events

    try:
        hints = typing.get_type_hints(apply)
    except (NameError, TypeError) as error:
        raise BadSetting(f"The annotations of the projection {name} cannot be read: {error}.") from None
    events_only.__annotations__ = {"events": hints.get(parameters[1].name, list[Event[Any]])}
    binding = Binding.of(events_only)
    if not binding.many or binding.arguments[0][1] != "event":
        raise BadSetting(f"The projection {name} takes its events as list[Event] or list[Event[Model]].")
    return binding.read
