"""`cos green plan`: missions in waves, shared ground alone and first, then what cannot get in each other's way."""

from __future__ import annotations

import shlex
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from cos.green.imports import Imports
from cos.green.layout import side_of
from cos.green.lease import Lease, guarded
from cos.green.mission import Budget, Mission

if TYPE_CHECKING:
    from cos.green.cause import Cause
    from cos.green.rules import Rules

_LEASED = 8
_TARGETS = 60
_BASE_IMPORTERS = 4
_OPTIONS = ("pyproject.toml", "pytest.ini", "tox.ini", "setup.cfg", "conftest.py")


@dataclass(slots=True)
class Planner:
    """Makes missions of causes for one checkout.

    `tries` says how often a test was a target in vain, `widen` which files earlier attempts wanted beside their lease.
    """

    imports: Imports
    rules: Rules
    files: list[str]
    budget: Budget = field(default_factory=Budget)
    attempts: int = 2
    python: str = "python"
    tries: Counter[str] = field(default_factory=Counter)
    widen: dict[str, list[str]] = field(default_factory=dict)
    hints: dict[str, list[str]] = field(default_factory=dict)

    def waves(
        self, causes: list[Cause], agents: int, *, first: int = 1, number: int = 1
    ) -> list[list[Mission]]:
        """Plan all causes that may still be tried.

        Args:
            causes: what is left.
            agents: most missions of a wave.
            first: number of the first wave.
            number: number of the first mission.

        Returns:
            Waves of missions; what lies in shared ground has a wave to itself, before the others.
        """
        missions = [self.mission(cause) for cause in causes if self._open(cause)]
        missions.sort(
            key=lambda m: (not m.shared, m.priority if m.shared else 0, -m.expected, m.priority, m.cause)
        )
        waves: list[list[Mission]] = [[mission] for mission in missions if mission.shared]
        for mission in (mission for mission in missions if not mission.shared):
            for wave in waves[sum(m.shared for m in missions) :]:
                if len(wave) < agents and not any(mission.lease.overlaps(other.lease) for other in wave):
                    wave.append(mission)
                    break
            else:
                waves.append([mission])
        at = number
        for count, wave in enumerate(waves, first):
            for place, mission in enumerate(wave):
                wave[place] = replace(mission, id=f"M{at}", wave=count)
                at += 1
        return waves

    def _open(self, cause: Cause) -> bool:
        return any(self.tries[test] < self.attempts for test in cause.tests)

    def mission(self, cause: Cause) -> Mission:
        """Make the mission of one cause, not yet numbered."""
        tried = max((self.tries[test] for test in cause.tests), default=0)
        write, granted, reasons = self._lease(cause, wider=tried > 0)
        targets = self._targets(cause)
        read = sorted({failure.file for failure in cause.failures} - set(granted))
        return Mission(
            id="", cause=cause.id, name=cause.name, pattern=cause.pattern, why=cause.why, wave=0,
            targets=tuple(targets), write=tuple(write), read=tuple(read),
            granted=tuple(dict.fromkeys((*granted, *self.rules.grant))), grant_reasons=tuple(reasons),
            granted_weakening=self.rules.grant_weakening, priority=cause.priority or 5, category=cause.category,
            shared=self._shared(write, granted), expected=len(cause.tests), attempt=tried + 1,
            example=cause.example[:4000], hints=tuple(self._hints(cause)),
            verify=(self.python, "-m", "pytest", *targets), budget=self.budget,
        )  # fmt: skip

    def _targets(self, cause: Cause) -> list[str]:
        """Choose the tests that prove the fix: all, or a spread over files where they are very many."""
        tests = cause.tests
        if len(tests) <= _TARGETS:
            return tests
        by_file: dict[str, list[str]] = {}
        for test in tests:
            by_file.setdefault(test.partition("::")[0], []).append(test)
        chosen: list[str] = []
        while len(chosen) < _TARGETS:
            for queue in by_file.values():
                if queue and len(chosen) < _TARGETS:
                    chosen.append(queue.pop(0))
        return chosen

    def _lease(self, cause: Cause, *, wider: bool) -> tuple[list[str], list[str], list[str]]:
        """Choose what may be written: what raised, what is missing, what was blamed; else what the tests import."""
        known = set(self.files)
        write = [file for file in cause.files if side_of(file) == "product" and file in known]
        write += [file for file in self._owners(cause) if file not in write]
        granted, reasons = self._granted(cause)
        if not write and not granted:
            counts: Counter[str] = Counter()
            for file in {failure.file for failure in cause.failures}:
                counts.update(self.imports.product_of(file, depth=1))
            write = [file for file, _ in counts.most_common()]
        if wider:
            near = [target for file in write for target in sorted(self.imports.of.get(file, ()))]
            near += [file for test in cause.tests for file in self.widen.get(test, ())]
            write += [file for file in dict.fromkeys(near) if not guarded(file) and file not in write]
        if not write and not granted:
            tops = {
                PurePosixPath(file).parts[0]
                for file in self.files
                if side_of(file) == "product" and "/" in file
            }
            write = sorted(f"{top}/**" for top in tops) or ["*.py"]
        return list(dict.fromkeys(write))[: _LEASED * (2 if wider else 1)], granted, reasons

    def _owners(self, cause: Cause) -> list[str]:
        """Find the file in which a missing name or module belongs."""
        kind, *rest = cause.key
        if kind == "module":
            return self._missing_module(rest[0])
        if kind != "missing":
            return []
        owner = rest[0]
        named = [
            file for file in self.files if PurePosixPath(file).stem == owner and side_of(file) == "product"
        ]
        full = self.imports.find(_dotted_owner(cause))
        if full and side_of(full) == "product":
            named.insert(0, full)
        return list(dict.fromkeys(named)) or self._defining(owner, cause)

    def _defining(self, owner: str, cause: Cause) -> list[str]:
        """Find the product's files that define a class, among those that the failing tests reach."""
        reached: dict[str, None] = {}
        for file in dict.fromkeys(failure.file for failure in cause.failures):
            reached.update(dict.fromkeys(self.imports.product_of(file, depth=2)))
        marks = (f"class {owner}(", f"class {owner}:")
        return [file for file in reached if any(mark in self.imports.text(file) for mark in marks)]

    def _missing_module(self, name: str) -> list[str]:
        """Where the missing module would be ours, allow its file to be made."""
        top = name.partition(".")[0]
        if top not in self.imports.packages:
            return []
        near = next(
            (file for file in self.files if f"/{top}/" in f"/{file}" and side_of(file) == "product"), ""
        )
        start = near.partition(f"{top}/")[0] if near else ""
        path = start + name.replace(".", "/")
        return [f"{path}.py", f"{path}/**"]

    def _granted(self, cause: Cause) -> tuple[list[str], list[str]]:
        """Grant guarded files where the fault lies in them and no fix elsewhere could mend it."""
        place = cause.place.partition("::")[0]
        if cause.kind in ("missing-fixture", "fixture-loop"):
            files = sorted({self._conftest(failure.file) for failure in cause.failures})
            return files, [f"{file}: a fixture that the tests ask for is not there" for file in files]
        if cause.kind == "markers":
            files = [file for file in _OPTIONS if file in self.files]
            return files, [f"{file}: pytest's options name the markers" for file in files]
        if cause.kind == "syntax" and guarded(cause.key[1]):
            return [cause.key[1]], [f"{cause.key[1]}: it is not valid Python"]
        if place and guarded(place) and cause.kind != "assertion" and place in self.files:
            return [place], [f"{place}: the error rises there, before any test's own body"]
        own = {failure.file for failure in cause.failures}
        if (
            cause.kind == "missing-name"
            and len(own) == 1
            and cause.key[1] == PurePosixPath(next(iter(own))).stem
        ):
            file = next(iter(own))
            return [file], [f"{file}: it uses a name that it does not define"]
        return [], []

    def _conftest(self, test_file: str) -> str:
        for parent in PurePosixPath(test_file).parents:
            path = str(parent / "conftest.py")
            if path in self.files:
                return path
        return str(PurePosixPath(test_file).parent / "conftest.py")

    def _shared(self, write: list[str], granted: list[str]) -> bool:
        """Say whether the cause lies in ground that many stand on."""
        if any(PurePosixPath(file).name == "conftest.py" or side_of(file) == "shared" for file in granted):
            return True
        lease = Lease(tuple(self.rules.shared))
        main = write[:1]
        if any(lease.allows(file) for file in write):
            return True
        importers = [
            len([f for f in self.imports.by.get(file, ()) if side_of(f) == "product"]) for file in main
        ]
        return any(count >= _BASE_IMPORTERS for count in importers)

    def _hints(self, cause: Cause) -> list[str]:
        return list(dict.fromkeys(hint for test in cause.tests for hint in self.hints.get(test, ())))[:6]


def _dotted_owner(cause: Cause) -> str:
    """Read the full dotted name of what lacks a name from the example, since the key keeps its last part alone."""
    for failure in cause.failures[:3]:
        for raised in failure.chain:
            for quote in raised.message.split("'")[1::2]:
                if "." in quote and quote.rpartition(".")[2] == cause.key[1]:
                    return quote
    return ""


def verify_line(mission: Mission) -> str:
    """Give the command that proves a mission as one line for a person."""
    return shlex.join(mission.verify)
