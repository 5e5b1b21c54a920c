"""The checker: what must hold when all is quiet again, for the events of one history and of all before it.

Truth is the log, read past everything that was struck; whether the log is right is known from what producers were told.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from fold import link
from producers import MUST, NEVER

if TYPE_CHECKING:
    from collections.abc import Iterator

    from producers import Model
    from rig import Rig

#: A third of the lease of an owner: a call that lasts longer was stopped in its middle, with its process.
STOPPED_SECONDS = 0.3
GROUPS = ("plain", "batch", "ordered", "picky")
Place = tuple[int, int]


class Row(NamedTuple):
    """A record as the log has it."""

    place: Place
    id: str
    module: str
    subject: str
    token: str | None


_LOG = """
    SELECT xact::text::bigint AS xact, seq, id, module, subject,
        CASE WHEN type = 'work' THEN data ->> 'token' END AS token
    FROM l1.record ORDER BY l1.record.xact, seq
"""


class Call(NamedTuple):
    """One call of the ordered group's handler, in seconds of the clock that all processes share."""

    began: float
    ended: float
    process: str
    place: Place
    token: str


class Checker:
    """Looks at everything and names each promise that does not hold."""

    def __init__(self, rig: Rig, model: Model) -> None:
        self._rig = rig
        self._model = model
        self._offsets: dict[Path, int] = {}
        self._seen: dict[str, list[tuple[int, str, Place]]] = {group: [] for group in GROUPS}
        self._calls: list[Call] = []
        self.shortened: set[str] = set()
        self._was_set_back = False

    def set_back(self) -> None:
        """Hear that the log was set back: what was seen in the life before may be gone, and groups may begin anew."""
        self._was_set_back = True

    async def violations(self) -> list[str]:
        """Give each promise that does not hold now, the most basic ones first."""
        rows = await self._log()
        return [
            *self._log_is_right(rows),
            *await self._streams_are_the_log(rows),
            *await self._groups_have_all(rows),
            *await self._projection_is_the_fold(rows),
            *self._feed_is_the_log(rows),
        ]

    async def _log(self) -> list[Row]:
        connection = await self._rig.look()
        rows = await connection.fetch(_LOG)
        return [
            Row((row["xact"], row["seq"]), str(row["id"]), row["module"], row["subject"], row["token"])
            for row in rows
        ]

    def _log_is_right(self, rows: list[Row]) -> Iterator[str]:
        counts = Counter(row.token for row in rows if row.token is not None)
        fate = self._model.fate
        if lost := [token for token, told in fate.items() if told == MUST and not counts[token]]:
            yield f"acknowledged and not in the log: {_few(lost)}"
        if twice := [token for token, count in counts.items() if count > 1]:
            yield f"in the log more than once: {_few(twice)}"
        if ghosts := [token for token in counts if fate.get(token, NEVER) == NEVER]:
            yield f"in the log although rolled back or never written: {_few(ghosts)}"
        for tokens in self._model.together:
            there = [token for token in tokens if counts[token]]
            if there and len(there) < len(tokens):
                yield f"only a part of one transaction is in the log: {_few(there)} of {_few(list(tokens))}"
                return

    async def _streams_are_the_log(self, rows: list[Row]) -> list[str]:
        found = []
        streams = self._rig.core.streams
        number = await streams.generation()
        if number is None:
            return ["Redis holds no generation"] if rows else []
        for module in sorted({row.module for row in rows}):
            wanted = [(row.place, row.id) for row in rows if row.module == module]
            entries = await self._rig.straight.xrange(streams.key(module, number))
            held = [(_place(entry.decode()), json.loads(fields[b"event"])["id"]) for entry, fields in entries]
            if module in self.shortened:
                wanted = wanted[len(wanted) - len(held) :] if len(held) <= len(wanted) else wanted
            if held != wanted:
                found.append(_difference(f"the stream of {module} (generation {number})", held, wanted))
        return found

    async def _groups_have_all(self, rows: list[Row]) -> list[str]:
        self._read_seen()
        found = []
        wishes = self._model.wishes
        events = {row.place: row for row in rows if row.token is not None}
        connection = await self._rig.look()
        dead = {
            (row["group_name"], (row["xact"], row["seq"])): row
            for row in await connection.fetch(
                "SELECT group_name, xact::text::bigint AS xact, seq, error, event -> 'data' ->> 'token' AS token "
                "FROM highway.dead_letter"
            )
            if not self._was_set_back or self._is_of_now(events, (row["xact"], row["seq"]), row["token"])
        }
        for group, lines in self._seen.items():
            seen = {place for _, token, place in lines if self._is_of_now(events, place, token)}
            poison = {p for p, row in events.items() if group == "picky" and wishes[row.token].poison}
            buried = {place for name, place in dead if name == group}
            if missing := sorted(events.keys() - seen - buried):
                found.append(f"group {group} never handled {_few(missing)}, {len(missing)} in all")
            if ghosts := sorted({place for _, token, place in lines if self._is_ghost(events, place, token)}):
                found.append(f"group {group} handled what is not in the log: {_few(ghosts)}")
            if wrong := sorted(buried - poison):
                reasons = {dead[group, place]["error"] for place in wrong}
                found.append(f"group {group} buried what it could handle: {_few(wrong)}, {_few(reasons)}")
            if unburied := sorted(poison - buried):
                found.append(f"group {group} has no dead letter of {_few(unburied)}")
        lanes: dict[tuple[str, str], tuple[Place, set[Place]]] = {}
        for _, token, place in self._ordered(events):
            lane = (events[place].module, events[place].subject)
            last, had = lanes.setdefault(lane, ((0, 0), set()))
            if place in had:
                continue
            if place < last:
                found.append(f"group ordered handled {token} at {place} after {last}, of the same subject")
            had.add(place)
            lanes[lane] = (max(last, place), had)
        return [*found, *self._one_process_a_module(events)]

    @staticmethod
    def _is_of_now(events: dict[Place, Row], place: Place, token: str) -> bool:
        """Say whether the log holds that event there: after it was set back, it may hold another one."""
        return place in events and events[place].token == token

    def _is_ghost(self, events: dict[Place, Row], place: Place, token: str) -> bool:
        if self._is_of_now(events, place, token):
            return False
        return not self._was_set_back or self._model.fate.get(token, NEVER) == NEVER

    def _ordered(self, events: dict[Place, Row]) -> list[tuple[int, str, Place]]:
        """Give what the ordered group has handled, in order; of a log that was set back since it began it anew."""
        lines = [one for one in self._seen["ordered"] if self._is_of_now(events, one[2], one[1])]
        if not self._was_set_back:
            return lines
        first: dict[tuple[str, str], Place] = {}
        for place in sorted(events):
            first.setdefault((events[place].module, events[place].subject), place)
        began: dict[tuple[str, str], int] = {}
        for at, (_, _, place) in enumerate(lines):
            lane = (events[place].module, events[place].subject)
            if place == first[lane]:
                began[lane] = at
        return [
            one
            for at, one in enumerate(lines)
            if at >= began.get((events[one[2]].module, events[one[2]].subject), 0)
        ]

    def _one_process_a_module(self, events: dict[Place, Row]) -> Iterator[str]:
        """Look for calls of two processes at once; one stopped in mid-call cannot know it."""
        last: dict[str, Call] = {}
        for call in sorted(one for one in self._calls if one.ended - one.began < STOPPED_SECONDS):
            if not self._is_of_now(events, call.place, call.token):
                continue
            module = events[call.place].module
            before = last.get(module)
            if before is not None and before.process != call.process and call.began < before.ended:
                yield (
                    f"two processes handled {module} for group ordered at once: {before.process} {before.place}, and "
                    f"{call.process} {call.place} {before.ended - call.began:.4f} s before that had ended"
                )
                return
            if before is None or call.ended > before.ended:
                last[module] = call

    def _read_seen(self) -> None:
        new = False
        for path in self._rig.seen.glob("*.seen"):
            with path.open("rb") as file:
                file.seek(self._offsets.get(path, 0))
                text = file.read()
                self._offsets[path] = file.tell()
            for line in text.decode().splitlines():
                at, group, token, position, _attempt, began = line.split()
                self._seen[group].append((int(at), token, _place(position)))
                if group == "ordered":
                    self._calls.append(
                        Call(int(began) / 1e9, int(at) / 1e9, path.stem, _place(position), token)
                    )
                new = True
        if new:
            for lines in self._seen.values():
                lines.sort()

    async def _projection_is_the_fold(self, rows: list[Row]) -> list[str]:
        connection = await self._rig.look()
        heads: dict[str, tuple[int, str]] = {}
        for row in rows:
            if row.token is not None:
                count, head = heads.get(row.module, (0, ""))
                heads[row.module] = (count + 1, link(head, row.id))
        held: dict[str, tuple[int, str]] = {}
        if await connection.fetchval("SELECT to_regclass('projection_chain.chain')") is not None:
            for one in await connection.fetch("SELECT module, events, head FROM projection_chain.chain"):
                held[one["module"]] = (one["events"], one["head"])
        found = []
        for module in sorted(heads.keys() | held.keys()):
            if held.get(module) != heads.get(module):
                counts = [(one.get(module) or (0, ""))[0] for one in (held, heads)]
                found.append(
                    f"the projection of {module} is not the fold of the log: it has {counts[0]} of {counts[1]} events"
                )
        return found

    def _feed_is_the_log(self, rows: list[Row]) -> Iterator[str]:
        held = [(_place(text), "") for text in (self._rig.reader.positions if self._rig.reader else [])]
        wanted = [(row.place, "") for row in rows]
        if held != wanted:
            yield _difference("the live feed", held, wanted)


def _place(text: str) -> Place:
    xact, _, seq = text.partition("-")
    return int(xact), int(seq)


def _difference(what: str, held: list[Any], wanted: list[Any]) -> str:
    lacking = sorted(set(wanted) - set(held))
    more = sorted(set(held) - set(wanted))
    repeated = [one for one, count in Counter(held).items() if count > 1]
    if not lacking and not more and not repeated:
        at = next((n for n, (a, b) in enumerate(zip(held, wanted, strict=False)) if a != b), -1)
        return f"{what} is out of order at entry {at}: {held[at : at + 3]} instead of {wanted[at : at + 3]}"
    said = [f"lacks {_few(lacking)} ({len(lacking)} in all)"] if lacking else []
    said += [f"has {_few(more)} too much"] if more else []
    said += [f"repeats {_few(repeated)}"] if repeated else []
    return f"{what} {', '.join(said)}; it has {len(held)} of {len(wanted)}"


def _few(many: Any) -> str:
    shown = [str(one) for one in list(many)[:4]]
    return ", ".join(shown) + (", …" if len(many) > 4 else "")
