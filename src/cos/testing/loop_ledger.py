"""Keeps what is known of loops, and of what was made and bound in them, while tests run."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

from cos.testing.loop_errors import BoundAtImport, LoopError, OtherLoop
from cos.testing.sites import PROJECT, Site, kind_of, locate
from cos.testing.strictness import OFF, Strictness

_NOTE = "_cos_origin"


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a thing was made, and whose it is: the test's own, a wider fixture's, nobody's."""

    site: Site
    owner: str
    test: str


@dataclass(slots=True)
class Ledger:
    """What is known now.

    Attributes:
        test: node id of the test under way, empty between tests.
        owner: what makes things at this moment: the test, or the name of a fixture that outlives it.
        strictness: what is looked for in this test.
        loops: each loop with the test in which it first ran.
        last_loop: by thread, the id of the one that ran last.
        found: what the test will be told of.
    """

    test: str = ""
    owner: str = ""
    strictness: Strictness = OFF
    loops: WeakKeyDictionary[asyncio.AbstractEventLoop, str] = field(default_factory=WeakKeyDictionary)
    last_loop: dict[int, int] = field(default_factory=dict)
    generators: dict[int, Origin] = field(default_factory=dict)
    found: list[LoopError] = field(default_factory=list)
    _told: set[str] = field(default_factory=set)
    _late: list[tuple[LoopError, str]] = field(default_factory=list)

    def looks_for(self, check: str) -> bool:
        """Say whether a check is on in the test under way."""
        return check in self.strictness.checks

    def tell(self, error: LoopError, about: str) -> None:
        """Keep what was found, once for each thing that it is about."""
        if not self.strictness.spares(about) and about not in self._told:
            self._told.add(about)
            self.found.append(error)

    def tell_late(self, error: LoopError, about: str) -> None:
        """Keep a connection that the collector found: for the test under way, or for the next where none is."""
        if not self.test:
            self._late.append((error, about))
        elif self.looks_for("connections"):
            self.tell(error, about)

    def begin(self, test: str, strictness: Strictness) -> None:
        """Turn to another test."""
        self.test, self.owner, self.strictness = test, test, strictness
        self.found.clear()
        self._told.clear()
        late, self._late = self._late, []
        for error, about in late:
            self.tell_late(error, about)

    def end(self) -> None:
        """Be between tests; a widest fixture's things are nobody's."""
        self.test = self.owner = ""
        self.strictness = OFF
        self.generators = {key: one for key, one in self.generators.items() if one.owner != one.test}

    def ran(self, loop: asyncio.AbstractEventLoop) -> None:
        """Note that a loop runs in this thread."""
        if loop not in self.loops:
            self.loops[loop] = self.test
        self.last_loop[threading.get_ident()] = id(loop)

    def note(self, thing: Any, depth: int) -> None:
        """Write on a task or future where it was made; one that cannot be written on stays without."""
        origin = Origin(locate(sys._getframe(depth)), self.owner, self.test)  # noqa: SLF001  (the only way)
        try:
            setattr(thing, _NOTE, origin)
        except AttributeError:  # made by another factory, with slots
            return

    def made(self, thing: Any, depth: int) -> None:
        """Write on a lock, queue or event where it was made, and whether that was at import."""
        if not hasattr(thing, _NOTE):
            origin = Origin(locate(sys._getframe(depth), whole=True), self.owner, self.test)  # noqa: SLF001
            setattr(thing, _NOTE, origin)

    def bound(self, thing: Any, depth: int) -> None:
        """Write on a lock, queue or event where it was first bound to a loop."""
        site = locate(sys._getframe(depth))  # noqa: SLF001
        thing._cos_bound = Origin(site, self.owner, self.test)  # noqa: SLF001  (our own mark)
        origin = origin_of(thing)
        if origin is not None and origin.site.at_import and self.looks_for("import"):
            self.tell(
                BoundAtImport(
                    f"{name_of(thing)} was made at import at {origin.site} and first bound to a loop at {site}, in "
                    f"{self.test}: the next loop that waits for it will fail; make it where its loop runs."
                ),
                f"{origin.site} {name_of(thing)}",
            )

    def conflict(self, thing: Any, depth: int) -> OtherLoop:
        """Tell of a lock, queue or event that is used in a second loop."""
        origin, bound = origin_of(thing), getattr(thing, "_cos_bound", None)
        made = f"was made {'at import ' if origin.site.at_import else ''}at {origin.site}" if origin else ""
        first = f"was first bound at {bound.site}, {in_test(bound.test)}" if bound else ""
        story = " and ".join(part for part in (made, first) if part) or "was bound before the check began"
        return OtherLoop(
            f"{name_of(thing)} belongs to another event loop: it {story}; now it is used at "
            f"{locate(sys._getframe(depth))}, {in_test(self.test)}. "  # noqa: SLF001
            "Make it in the loop that uses it, or give both the same loop scope."
        )


def origin_of(thing: Any) -> Origin | None:
    """Give what was written on a thing when it was made."""
    found = getattr(thing, _NOTE, None)
    return found if isinstance(found, Origin) else None


def in_test(test: str) -> str:
    """Write in which test, or that it was in none."""
    return f"in {test}" if test else "outside of any test"


def name_of(thing: Any) -> str:
    """Name a thing by its type and, where a module of the project holds it, by that."""
    kind = type(thing).__name__
    for module, names in list(sys.modules.items()):
        file = getattr(names, "__file__", None)
        if not isinstance(file, str) or kind_of(file) != PROJECT:
            continue
        space: Mapping[str, Any] = getattr(names, "__dict__", {})
        for name, value in list(space.items()):
            if value is thing:
                return f"The {kind} {module}.{name}"
    return f"A {kind}"
