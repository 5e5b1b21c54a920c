"""Which events one reader wants: some modules, types or subjects, or all."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from cos.errors import BadInput

MAX_NAMES = 50


@dataclass(frozen=True, slots=True)
class Selection:
    """What is wanted; equal ones compare equal, so that readers who want the same can share work. Make one with `of`.

    Attributes:
        modules: of one of these modules; empty for all.
        types: of one of these types; a trailing `*` matches every type that begins so; empty for all.
        subjects: about one of these subjects; empty for all.
    """

    modules: tuple[str, ...] = ()
    types: tuple[str, ...] = ()
    subjects: tuple[str, ...] = ()

    @classmethod
    def of(
        cls, *, modules: Iterable[str] = (), types: Iterable[str] = (), subjects: Iterable[str] = ()
    ) -> Selection:
        """Take the names, in any order and as often as they are given.

        Raises:
            BadInput: too many, or one that no event can have.
        """
        made = cls(*(tuple(sorted(set(names))) for names in (modules, types, subjects)))
        for what, names in (("modules", made.modules), ("types", made.types), ("subjects", made.subjects)):
            if len(names) > MAX_NAMES:
                raise BadInput(
                    f"{len(names)} {what} are too many for one filter; at most {MAX_NAMES} are taken."
                )
            if any("\x00" in name for name in names):
                raise BadInput("A filter holds a NUL character, which no event has.")
        return made

    @property
    def exact_types(self) -> list[str] | None:
        """The types that must match whole, None where the type does not matter."""
        return [name for name in self.types if not name.endswith("*")] if self.types else None

    @property
    def type_beginnings(self) -> list[str]:
        """The beginnings of types, without their `*`."""
        return [name[:-1] for name in self.types if name.endswith("*")]

    def takes(self, module: str, type_: str, subject: str | None) -> bool:
        """Say whether an event is wanted."""
        if self.modules and module not in self.modules:
            return False
        if self.subjects and subject not in self.subjects:
            return False
        return not self.types or any(
            type_.startswith(name[:-1]) if name.endswith("*") else type_ == name for name in self.types
        )


EVERYTHING = Selection()
