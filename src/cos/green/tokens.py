"""What a failure is about, as weighted words: calls and types weigh most, then names, then what was said."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from cos.green import introspect, node_id
from cos.green.kinds import recognise
from cos.green.normal import template, words

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cos.green.failure import Raised

# calls that every test of a service makes
_VERBS = frozenset(
    "get post put patch delete request json execute fetch send run call invoke main create save close".split()  # noqa: SIM905 - a list of words reads best as words
)


def about(test: str, raised: Raised, sources: Iterable[str]) -> dict[str, float]:
    """Weigh what a failure is about.

    Args:
        test: its node id.
        raised: the exception to blame.
        sources: calls on which the failing statement depends.

    Returns:
        Tokens such as `call:add`, `type:Cart`, `word:cart`, with weights that compare to each other.
    """
    calls, types = introspect.where_names(raised.message)
    weights: dict[str, float] = {}

    def add(name: str, weight: float) -> None:
        weights[name] = max(weight, weights.get(name, 0.0))

    for subject in (*calls, *sources):
        last = subject.rpartition(".")[2]
        add(f"call:{last}", 0.5 if last in _VERBS else 3.0 if last.startswith("/") else 2.0)
        if "." in subject:
            add(f"call:{subject.partition('.')[0]}", 0.5 if last in _VERBS else 1.0)
        for word in words(subject):  # tests are often named after what they call
            add(f"word:{word}", 0.7)
    for kind in types:
        add(f"type:{kind}", 2.5)
    if mocked := _mocked(raised.message):
        add(f"call:{mocked}", 2.5)
    for name, weight in _names(test, raised, types).items():
        add(name, weight)
    return weights


def _mocked(message: str) -> str:
    """Give the function that a test double waited for."""
    kind = recognise(message) if message.startswith(("Expected", "expected")) else None
    return kind.owner.rpartition(".")[2] if kind else ""


def _names(test: str, raised: Raised, types: list[str]) -> dict[str, float]:
    file, names, _ = node_id.split(test)
    stem = file.rpartition("/")[2].rpartition(".")[0]
    named = [stem, *names[:-1], *types, raised.name]
    said = [names[-1] if names else "", template(raised.message, keep="none")[:200]]
    weights = {f"file:{file}": 1.0, f"error:{raised.name}": 1.0}
    for text, weight in [*((text, 0.5) for text in said), *((text, 1.0) for text in named)]:
        found = words(text)
        weights.update({f"word:{word}": weight for word in found})
        # a thing of the project often has a name of two words
        weights.update({f"pair:{'_'.join(pair)}": 2.0 * weight for pair in pairwise(found)})
    return weights
