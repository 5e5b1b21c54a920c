"""Joins groups of failures that name no cause themselves (assertions above all) by what they are about."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, field

# Chosen on the generated cases of bench/green (see docs/green.md); a group is joined at or above its mean similarity.
ALIKE = 0.25
CODE = 0.7
WORDS = 0.6
_STRONG = ("call:", "type:", "place:")
_MANY = 300


@dataclass(slots=True)
class Weak:
    """A group of failures and what they are about, as weights of tokens; `silent` ones said nothing at all."""

    number: int
    size: int
    tokens: dict[str, float]
    silent: bool = False
    vector: dict[str, float] = field(default_factory=dict)
    strong: dict[str, float] = field(default_factory=dict)


def join(groups: list[Weak], alike: float = ALIKE) -> list[list[int]]:
    """Cluster groups by average linkage over the cosine of their tokens, rare tokens weighing more.

    Args:
        groups: each with its tokens.
        alike: least mean similarity of two clusters that are joined, 0 to 1.

    Returns:
        Clusters of the groups' numbers, in the order of their first group.
    """
    _weigh(groups)
    if len(groups) > _MANY:
        return _lead(groups, alike)
    return _link(groups, alike)


def _weigh(groups: list[Weak]) -> None:
    seen: defaultdict[str, int] = defaultdict(int)
    for group in groups:
        for token in group.tokens:
            seen[token] += 1
    for group in groups:
        raw = {
            token: weight * math.log(1 + len(groups) / seen[token]) for token, weight in group.tokens.items()
        }
        group.strong = _unit({token: weight for token, weight in raw.items() if token.startswith(_STRONG)})
        group.vector = _unit(raw)


def _unit(raw: dict[str, float]) -> dict[str, float]:
    norm = math.sqrt(sum(weight * weight for weight in raw.values())) or 1.0
    return {token: weight / norm for token, weight in raw.items()}


def _cosine(one: dict[str, float], other: dict[str, float]) -> float:
    if len(other) < len(one):
        one, other = other, one
    return sum(weight * other[token] for token, weight in one.items() if token in other)


def similarity(one: Weak, other: Weak) -> float:
    """Give how alike two groups are, 0 to 1.

    Where both name code, that weighs most: sharing none of it halves what their words say.
    """
    if one.silent != other.silent:
        return 0.0
    value = _cosine(one.vector, other.vector)
    if one.strong and other.strong:
        shared = _cosine(one.strong, other.strong)
        return max(CODE * shared + (1 - CODE) * value, value * WORDS) if shared else value * WORDS / 2
    return value * WORDS


def _link(groups: list[Weak], alike: float) -> list[list[int]]:
    clusters = {at: [at] for at in range(len(groups))}
    near: dict[tuple[int, int], float] = {}
    for one in range(len(groups)):
        for other in range(one + 1, len(groups)):
            value = similarity(groups[one], groups[other])
            if value > 0:
                near[one, other] = value
    while near:
        (one, other), value = max(near.items(), key=lambda item: (item[1], -item[0][0], -item[0][1]))
        if value < alike:
            break
        weight_one, weight_other = len(clusters[one]), len(clusters[other])
        clusters[one] += clusters.pop(other)
        del near[one, other]
        for at in clusters:
            if at == one:
                continue
            first = near.pop(_pair(one, at), 0.0)
            second = near.pop(_pair(other, at), 0.0)
            mean = (first * weight_one + second * weight_other) / (weight_one + weight_other)
            if mean > 0:
                near[_pair(one, at)] = mean
    return [[groups[at].number for at in sorted(members)] for members in clusters.values()]


def _pair(one: int, other: int) -> tuple[int, int]:
    return (one, other) if one < other else (other, one)


def _lead(groups: list[Weak], alike: float) -> list[list[int]]:
    """Cluster very many groups in one pass: each joins the leader that it is most like."""
    leaders: list[Weak] = []
    members: list[list[int]] = []
    holders: defaultdict[str, list[int]] = defaultdict(list)
    for group in sorted(groups, key=lambda group: (-group.size, group.number)):
        ranked = sorted(group.vector.items(), key=lambda item: -item[1])[:8]
        near = {at for token, _ in ranked for at in holders[token][:40]}
        best = max(((similarity(group, leaders[at]), -at) for at in near), default=(0.0, 0))
        if best[0] >= alike:
            members[-best[1]].append(group.number)
            continue
        for token, _ in ranked:
            holders[token].append(len(leaders))
        leaders.append(group)
        members.append([group.number])
    return members
