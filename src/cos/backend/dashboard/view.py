"""What a view is: where it stands, what it loads, and which of its parts are live."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from cos.backend.dashboard.health import Report
from cos.backend.deps import Services
from cos.errors import BadInput


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What a view is asked for: the services, this moment's health, and the query of its address."""

    services: Services
    report: Report
    query: Mapping[str, str]
    origin: str


Load = Callable[[Asked], Awaitable[dict[str, Any]]]


@dataclass(frozen=True, kw_only=True)
class View:
    """One page of the dashboard.

    Attributes:
        name: in its address.
        title: in the contents list.
        key: after `g`, leads to it.
        load: reads what its templates show.
        parts: of it that are brought up to date while it is looked at.
        every: how many ticks of the live stream lie between two looks; more where a look costs more.
        administers: whether only who administers may look at it.
    """

    name: str
    title: str
    key: str
    load: Load
    parts: tuple[str, ...] = ()
    every: int = 1
    administers: bool = False

    @property
    def path(self) -> str:
        """Where it stands."""
        return "/" if self.name == "overview" else f"/ui/{self.name}"


def text_of(query: Mapping[str, str], *names: str) -> dict[str, str]:
    """Give some members of a query as clean text, empty where they are absent; raises BadInput."""
    found = {name: query.get(name, "") for name in names}
    for name, value in found.items():
        if "\x00" in value:
            raise BadInput(f"The filter {name} holds a NUL character, which nothing has.")
    return {name: value.strip()[:500] for name, value in found.items()}
