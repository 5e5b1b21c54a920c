"""Sorts failures into causes: by equal fingerprints, then by what was executed, then by what they are about."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING

from cos.green.cause import Cause
from cos.green.fingerprint import Fingerprint, fingerprint
from cos.green.kinds import GENERIC
from cos.green.layout import Layout, side_of
from cos.green.similarity import Weak, join
from cos.green.spectrum import blame

if TYPE_CHECKING:
    from pathlib import Path

    from cos.green.failure import Run

_FIRM, _BLAMED, _SAME_TEXT, _ALIKE, _ALONE = 0.95, 0.85, 0.8, 0.65, 0.6
_SAID, _SENTENCE = 3, 20  # parts of such a key; least letters of a sentence
Group = list[Fingerprint]


def find_causes(run: Run, root: Path | None = None) -> list[Cause]:
    """Sort a run's failures into root causes.

    Args:
        run: with its failures.
        root: the project's folder where it is at hand: sources then tell what an assertion was about.

    Returns:
        The causes, largest first.
    """
    layout = Layout(root, run.failures)
    prints = [fingerprint(failure, layout) for failure in run.failures]
    groups = _equal(prints)
    firm = {key: group for key, group in groups.items() if all(one.firm for one in group)}
    weak = {key: group for key, group in groups.items() if key not in firm}
    causes = [_cause(key, group, _FIRM, _why(group)) for key, group in firm.items()]
    weak = _attached(_unwrapped(weak), causes, run.calls)
    weak, blamed = _blamed(weak, run)
    causes += blamed
    causes += _alike(weak)
    causes.sort(key=lambda cause: (-len(cause.failures), cause.key))
    return causes


def _equal(prints: list[Fingerprint]) -> dict[tuple[str, ...], Group]:
    groups: dict[tuple[str, ...], Group] = defaultdict(list)
    for one in prints:
        if not one.cut:
            groups[one.key].append(one)
    for one in sorted((one for one in prints if one.cut), key=lambda one: -len(_said(one))):
        groups[_whole(one, groups)].append(one)
    return groups


def _said(one: Fingerprint) -> str:
    chain = one.failure.chain
    return f"{chain[-1].type}: {chain[-1].message}".removesuffix("...").rstrip() if chain else ""


def _whole(one: Fingerprint, groups: dict[tuple[str, ...], Group]) -> tuple[str, ...]:
    """Find the group of which a cut message is the beginning; the nearest and then the largest wins."""
    said = _said(one)
    fitting = [(key, group) for key, group in groups.items() if group and _said(group[0]).startswith(said)]
    if not fitting:
        return one.key
    here = one.failure.file
    return max(
        fitting, key=lambda item: (any(o.failure.file == here for o in item[1]), len(item[1]), item[0])
    )[0]


def _unwrapped(weak: dict[tuple[str, ...], Group]) -> dict[tuple[str, ...], Group]:
    """Give a message that repeats another's whole sentence to that other: a wrapper quotes its root."""
    said = {key: key[2] for key, group in weak.items() if group[0].kind == "raised" and len(key) == _SAID}
    joined: dict[tuple[str, ...], Group] = {}
    for key, group in weak.items():
        inner = [
            other
            for other, text in said.items()
            if key in said and other != key and len(text) > _SENTENCE and text in said[key]
        ]
        joined.setdefault(min(inner, key=lambda other: len(other[2])) if inner else key, []).extend(group)
    return joined


def _executed(group: Group, places: dict[str, Cause], calls: dict[str, frozenset[str]]) -> Cause | None:
    """Find the cause whose raising function these tests execute too: it raises where it should not, and the reverse."""
    for place, cause in places.items():
        file, _, name = place.partition("::")
        for one in group:
            ran = calls.get(one.failure.test, frozenset())
            if not any(
                call.startswith(file + "::") and call.rpartition("::")[2].split(".")[-1] == name
                for call in ran
            ):
                break
        else:
            return cause
    return None


def _attached(
    weak: dict[tuple[str, ...], Group], causes: list[Cause], calls: dict[str, frozenset[str]]
) -> dict[tuple[str, ...], Group]:
    """Give an assertion about a function to the cause that rises in that very function, and return the others."""
    places = {cause.place: cause for cause in causes if cause.kind == "raised" and cause.place}
    by_name = {place.rpartition("::")[2]: cause for place, cause in places.items()}
    left: dict[tuple[str, ...], Group] = {}
    for key, group in weak.items():
        cause = by_name.get(group[0].about) if group[0].kind == "assertion" else None
        if cause is None and "not raise" in f"{group[0].pattern.lower()} ".replace("not raised", "not raise"):
            cause = _executed(group, places, calls)
        if cause is None:
            left[key] = group
            continue
        cause.failures += [one.failure for one in group]
        cause.confidence = min(cause.confidence, _BLAMED)
    return left


def _blamed(weak: dict[tuple[str, ...], Group], run: Run) -> tuple[dict[tuple[str, ...], Group], list[Cause]]:
    """Regroup weak failures by the function to blame, where the run recorded what its tests executed."""
    if not run.calls:
        return weak, []
    failing = {
        one.failure.test: frozenset(call for call in calls if side_of(call.partition("::")[0]) == "product")
        for group in weak.values()
        for one in group
        if (calls := run.calls.get(one.failure.test))
    }
    every = run.failing
    passing = {test: calls for test, calls in run.calls.items() if test not in every}
    named = blame({test: calls for test, calls in failing.items() if calls}, passing)
    left: dict[tuple[str, ...], Group] = {}
    by_function: dict[str, Group] = defaultdict(list)
    for key, group in weak.items():
        for one in group:
            if function := named.get(one.failure.test):
                by_function[function].append(one)
            else:
                left.setdefault(key, []).append(one)
    causes = []
    for function, group in by_function.items():
        cause = _cause(
            ("blamed", function), group, _BLAMED, f"these tests, and few that pass, execute {function}"
        )
        cause.place = function
        cause.pattern = f"{cause.pattern} (all through {function})"
        file = function.partition("::")[0]
        cause.files = [file, *(other for other in cause.files if other != file)]
        causes.append(cause)
    return left, causes


def _alike(weak: dict[tuple[str, ...], Group]) -> list[Cause]:
    keys = list(weak)
    groups = [
        Weak(at, len(weak[key]), _mean(weak[key]), weak[key][0].kind == "no-message")
        for at, key in enumerate(keys)
    ]
    causes = []
    for members in join(groups):
        joined = [one for at in members for one in weak[keys[at]]]
        key = min((keys[at] for at in members), key=lambda key: (-len(weak[key]), key))
        if len(members) == 1:
            causes.append(_cause(key, joined, _SAME_TEXT if len(joined) > 1 else _ALONE, _why(joined)))
            continue
        common = _common([groups[at] for at in members])
        causes.append(
            _cause(key, joined, _ALIKE, f"different messages about the same thing: {', '.join(common)}")
        )
    return causes


def _mean(group: Group) -> dict[str, float]:
    total: Counter[str] = Counter()
    for one in group:
        for token, weight in one.tokens:
            total[token] += weight / len(group)  # type: ignore[assignment]
    return dict(total)


def _common(groups: list[Weak]) -> list[str]:
    total: Counter[str] = Counter()
    for group in groups:
        for token, weight in group.vector.items():
            total[token] += weight  # type: ignore[assignment]
    shared = [
        token
        for token, _ in total.most_common()
        if sum(token in group.vector for group in groups) * 2 > len(groups)
    ]
    return [token.partition(":")[2] for token in shared[:4]] or ["the same words"]


def _why(group: Group) -> str:
    first = group[0]
    if len(group) == 1:
        return "it is the only failure of its kind"
    if first.kind == "raised" and first.place and first.firm:
        return f"the same error rises in {first.place}"
    if first.firm:
        return "the root error names the same thing"
    return "the root error says the same"


def _cause(key: tuple[str, ...], group: Group, confidence: float, why: str) -> Cause:
    patterns = Counter(one.pattern for one in group)
    pattern = patterns.most_common(1)[0][0]
    files: Counter[str] = Counter()
    for one in group:
        for at, file in enumerate(dict.fromkeys(one.files)):
            files[file] += (3 if side_of(file) == "product" else 1) / (1 + at)  # type: ignore[assignment]
        files[one.failure.file] += 0  # the test's own file is always involved
    places = Counter(one.place for one in group if one.place)
    kind = Counter(one.kind for one in group).most_common(1)[0][0]
    cause = Cause(key, kind, _name(kind, pattern), pattern, confidence, why)
    cause.failures = [one.failure for one in group]
    cause.files = [file for file, _ in files.most_common(40)]
    cause.place = places.most_common(1)[0][0] if places else ""
    return cause


def _name(kind: str, pattern: str) -> str:
    """Give a title a person would: the pattern without its type, in a few words."""
    text = (
        pattern.partition(": ")[2]
        if ": " in pattern and pattern.partition(": ")[0].isidentifier()
        else pattern
    )
    return f"{kind.replace('-', ' ')}: {text}"[:100] if text and kind != "raised" else pattern[:100]


__all__ = ["GENERIC", "find_causes"]
