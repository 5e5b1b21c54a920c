"""What a fault is to the guard: noted, then struck, then healed, each step safe to repeat."""

from __future__ import annotations

from typing import Any, Protocol


class Refused(Exception):
    """A fault cannot be made; the words are for the person who asked."""


class NotHealed(Exception):
    """A fault could not be healed yet; worth another try."""


Note = dict[str, Any]
"""Everything that healing needs, as JSON: it is in the journal before the fault is there."""


class Wound(Protocol):
    """One kind of fault."""

    def note(self, wish: Note) -> Note:
        """Look at the thing and say all that healing will need; changes nothing.

        Raises:
            Refused: the fault cannot be made.
        """
        ...

    def strike(self, note: Note) -> None:
        """Make the fault.

        Raises:
            Refused: it cannot be made after all; what was begun is healed by the caller.
        """
        ...

    def heal(self, note: Note) -> None:
        """End the fault; does nothing where there is none, or where the thing is no more.

        Raises:
            NotHealed: not possible now.
        """
        ...
