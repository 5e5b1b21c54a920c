"""The highway as its users see it: who subscribes to what, told by decorators and run by the runtime.

    highway = Highway()

    @highway.subscriber(group="indexer", modules=["editor"], types=["chapter.saved"])
    async def index(event: Event[ChapterSaved]) -> None: ...

Nothing here connects or binds to an event loop: `cos up` and `cos worker` run what the entry points of the group
`cos.subscribers` and the setting `COS_SUBSCRIBERS` name; `cos.runtime.consumers.Consumers` runs one inside any program.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from cos.common.subscriber_policy import Policy
from cos.errors import BadSetting
from cos.memory.delivery import Binding, Event, Handler, Types
from cos.memory.event import NAME
from cos.memory.log_source import Begin
from cos.memory.projection import Projection

H = TypeVar("H")


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscription:
    """One group and its handler.

    Attributes:
        group: name of the group; the processes that run it share its events.
        handler: async; what it may take is told at `cos.memory.delivery.Binding.of`.
        modules: whose events; None for all, also of modules that come later.
        types: which types, a trailing `*` matching more; None for all.
        begin: where a group that never ran before begins: with the oldest event, or after the newest.
        policy: limits, retries, order.
    """

    group: str
    handler: Handler
    modules: tuple[str, ...] | None = None
    types: tuple[str, ...] | None = None
    begin: Begin = "oldest"
    policy: Policy = field(default_factory=Policy)
    binding: Binding = field(init=False)

    def __post_init__(self) -> None:
        """Check names and read the handler's annotations; raises BadSetting."""
        check_name("group", self.group)
        for module in self.modules or ():
            check_name("module", module)
        if self.begin not in ("oldest", "newest"):
            raise BadSetting(f"A group begins with the oldest or the newest event, not {self.begin!r}.")
        object.__setattr__(self, "binding", Binding.of(self.handler))
        if not self.binding.many:
            object.__setattr__(self, "policy", replace(self.policy, batch=1))
        elif self.policy.ordered:
            raise BadSetting(
                f"The group {self.group!r} keeps order, so its handler takes one event at a time, not a list."
            )

    @property
    def wanted(self) -> Types:
        """Give which types are wanted."""
        return Types(self.types)

    def describe(self) -> dict[str, Any]:
        """Give it as JSON values."""
        name = getattr(self.handler, "__qualname__", type(self.handler).__name__)
        return {
            "handler": f"{self.handler.__module__}.{name}",
            "modules": None if self.modules is None else list(self.modules),
            "types": None if self.types is None else list(self.types),
            "begin": self.begin,
            "ordered": self.policy.ordered,
            "attempts": self.policy.attempts,
            "concurrency": self.policy.concurrency,
        }


class Highway:
    """A list of subscriptions and projections, filled at import time."""

    def __init__(self) -> None:
        """Begin with none."""
        self.subscriptions: list[Subscription] = []
        self.projections: list[Projection] = []

    def subscriber(
        self,
        *,
        group: str,
        modules: Sequence[str] | None = None,
        types: Sequence[str] | None = None,
        begin: Begin = "oldest",
        **policy: Any,
    ) -> Callable[[H], H]:
        """Subscribe an async function, or a class with an async method `handle`, which is made without arguments.

        Args:
            group: name of the group.
            modules: whose events; None for all.
            types: which types, a trailing `*` matching more; None for all.
            begin: where a new group begins.
            **policy: members of `cos.common.subscriber_policy.Policy`, such as `attempts`, `concurrency`, `ordered`.

        Raises:
            BadSetting: names what cannot be used.
        """

        def subscribe(given: H) -> H:
            made: Any = given() if inspect.isclass(given) else given
            handler = made.handle if hasattr(made, "handle") else made
            self.add(
                Subscription(
                    group=group,
                    handler=handler,
                    modules=_names("modules", modules),
                    types=_names("types", types),
                    begin=begin,
                    policy=_policy(policy),
                )
            )
            return given

        return subscribe

    def projection(
        self,
        *,
        name: str,
        setup: Sequence[str] | str = (),
        modules: Sequence[str] | None = None,
        types: Sequence[str] | None = None,
        **more: Any,
    ) -> Callable[[H], H]:
        """Keep a view of the log with an async function, or a class with async methods `apply` and `setup`.

        Args:
            name: of the projection.
            setup: statements that make its tables, where the class has no method for it.
            modules: whose events; None for all.
            types: which types, a trailing `*` matching more; None for all.
            **more: members of `cos.memory.projection.Projection`: `version`, `batch`, `attempts`, `on_poison`.

        Raises:
            BadSetting: names what cannot be used.
        """

        def keep(given: H) -> H:
            made: Any = given() if inspect.isclass(given) else given
            statements: Any = (setup,) if isinstance(setup, str) else tuple(setup)
            members: dict[str, Any] = {
                "apply": getattr(made, "apply", made),
                "setup": getattr(made, "setup", statements),
                "modules": _names("modules", modules),
                "types": _names("types", types),
            }
            try:
                projection = Projection(name=name, **members, **more)
            except TypeError as error:
                raise BadSetting(f"The projection {name!r} cannot be made so: {error}.") from None
            self.add_projection(projection)
            return given

        return keep

    def add_projection(self, projection: Projection) -> None:
        """Add one; raises BadSetting when its name is there already."""
        if any(one.name == projection.name for one in self.projections):
            raise BadSetting(f"There is a projection {projection.name!r} already; choose another name.")
        self.projections.append(projection)

    def add(self, subscription: Subscription) -> None:
        """Add one; raises BadSetting when its group is there already."""
        if any(one.group == subscription.group for one in self.subscriptions):
            raise BadSetting(
                f"The group {subscription.group!r} has a subscriber already; choose another name."
            )
        self.subscriptions.append(subscription)


def check_name(what: str, name: str) -> None:
    """Refuse a name that cannot stand in a key; raises BadSetting."""
    if NAME.fullmatch(name) is None:
        raise BadSetting(
            f"The {what} {ascii(name)[:80]} is not allowed: a letter, then letters, digits and _ . -, "
            "at most 64 characters."
        )


def _names(what: str, given: Sequence[str] | None) -> tuple[str, ...] | None:
    if isinstance(given, str):
        raise BadSetting(f"The {what} are a list, such as [{given!r}], not a single text.")
    return None if given is None else tuple(given)


def _policy(given: dict[str, Any]) -> Policy:
    try:
        return Policy(**given)
    except TypeError as error:
        known = ", ".join(Policy.__dataclass_fields__)
        raise BadSetting(f"A subscriber cannot be made so: {error}. What can be set: {known}.") from None


__all__ = ["Event", "Highway", "Subscription"]
