"""Chooses, in a chain of exceptions, the one that the others came of."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cos.green.failure import Raised

# raised and handled in the ordinary course of things: what is raised meanwhile is a fault of its own
_EVERYDAY = frozenset(
    [
        "KeyError",
        "IndexError",
        "AttributeError",
        "StopIteration",
        "StopAsyncIteration",
        "LookupError",
        "ImportError",
        "ModuleNotFoundError",
        "Empty",
        "Full",
        "CancelledError",
        "FileNotFoundError",
        "NoResultFound",
        "DoesNotExist",
        "ValueError",
        "TypeError",
    ]
)


def root_of(chain: tuple[Raised, ...]) -> Raised | None:
    """Choose the exception that the others came of.

    An exception that was merely being handled when another rose is passed over if it is of an everyday kind and the
    other does not repeat what it said.

    Args:
        chain: from the root to the outermost.

    Returns:
        The one to blame, None for an empty chain.
    """
    for number, raised in enumerate(chain):
        following = chain[number + 1 : number + 2]
        if raised.link != "context" or not following:
            return raised
        repeats = bool(raised.message) and raised.message[:80] in following[0].message
        if raised.name not in _EVERYDAY or repeats:
            return raised
    return None
