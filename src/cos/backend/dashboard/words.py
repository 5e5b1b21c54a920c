"""How the dashboard writes numbers, times and JSON: as a person reads them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec

from cos.common import clock

#: What stands where nothing was measured.
ABSENT = "not measured yet"
#: As much of an event's data as a page shows, in characters; the API gives all of it.
MOST_JSON = 100_000
_SUMMARY_MEMBERS = 8
_SUMMARY_VALUE = 64
_TIME = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}")
_MINUTE, _HOUR, _DAY = 60, 3600, 86_400
_KIB = 1024

_TOKEN = re.compile(
    r'("(?:[^"\\]|\\.)*")(\s*:)?|(-?\d[\d.eE+-]*|true|false|null)|([^"\d\-tfn]+|.)', re.DOTALL
)


def number(value: float | None) -> str:
    """Write a number with its thousands apart; small ones with as many places as tell something."""
    if value is None:
        return ABSENT
    if isinstance(value, int) or abs(value) >= 100 or value == int(value):  # noqa: PLR2004  (three digits are enough)
        return f"{round(value):,}"
    return f"{value:.1f}" if abs(value) >= 1 else f"{value:.2g}"


def duration(seconds: float | None) -> str:
    """Write a time that passed: `0.4 ms`, `3.2 s`, `5 min`, `2 h 10 min`, `3 d 4 h`."""
    if seconds is None:
        return ABSENT
    if seconds < 1:
        return "0 s" if seconds == 0 else f"{number(round(seconds * 1000, 2))} ms"
    if seconds < _MINUTE:
        return f"{seconds:.3g} s"
    if seconds < _HOUR:
        return f"{seconds // _MINUTE:.0f} min"
    if seconds < _DAY:
        return _two(seconds, _HOUR, "h", _MINUTE, "min")
    return _two(seconds, _DAY, "d", _HOUR, "h")


def _two(seconds: float, large: int, large_unit: str, small: int, small_unit: str) -> str:
    rest = int(seconds % large // small)
    first = f"{seconds // large:.0f} {large_unit}"
    return f"{first} {rest} {small_unit}" if rest else first


def milliseconds(value: float | None) -> str | None:
    """Write a measured answer time, None as None."""
    return None if value is None else f"{number(value)} ms"


def size(count: float | None) -> str:
    """Write a number of bytes: `512 B`, `1.4 MiB`."""
    if count is None:
        return ABSENT
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < _KIB:
            return f"{number(round(count, 1))} {unit}"
        count /= _KIB
    return f"{number(round(count, 1))} TiB"


@dataclass(frozen=True, slots=True)
class When:
    """A time as it is written: for machines, whole in this machine's zone, and as short as today allows."""

    machine: str
    whole: str
    short: str


def when(time: datetime | str) -> When:
    """Write a time in this machine's zone: the hour alone for today, else the day too."""
    given = datetime.fromisoformat(time) if isinstance(time, str) else time
    local = given.astimezone()
    today = clock.now().astimezone().date()
    if local.date() == today:
        short = f"{local:%H:%M:%S}"
    elif local.year == today.year:
        short = f"{local.day} {local:%b, %H:%M}"
    else:
        short = f"{local.day} {local:%b %Y, %H:%M}"
    return When(given.isoformat(), local.isoformat(sep=" ", timespec="milliseconds"), short)


def zone() -> str:
    """Name the zone in which times are written."""
    return clock.now().astimezone().tzname() or "UTC"


def plural(count: int, one: str, many: str | None = None) -> str:
    """Write a count with its noun."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def summary(text: str, *known: str | None) -> list[tuple[str, str]]:
    """Give what an event's data holds as a few names and values for one line; the name is empty for a bare value.

    Prose comes first and numbers next, because they tell most; what the line says elsewhere and times are left out.

    Args:
        text: the JSON, or its beginning.
        *known: values that the line shows already.
    """
    try:
        value: Any = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return [("", text[:240])]
    if isinstance(value, dict):
        telling = [
            (name, one) for name, one in value.items() if one not in (None, "", *known) and not _is_time(one)
        ]
        telling.sort(key=lambda member: _rank(member[1]))
        return [(str(name), _short(one)) for name, one in telling[:_SUMMARY_MEMBERS]]
    return [] if value is None else [("", _short(value, 240))]


def _is_time(value: Any) -> bool:
    return isinstance(value, str) and _TIME.match(value) is not None


def _rank(value: Any) -> int:
    if isinstance(value, str):
        return 0 if " " in value else 2
    return 1 if isinstance(value, int | float) else 3


def _short(value: Any, most: int = _SUMMARY_VALUE) -> str:
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    text = " ".join(text.split())
    return text if len(text) <= most else text[: most - 1].rstrip() + "…"


def pretty(text: str) -> list[tuple[str, str]]:
    """Set JSON in lines, its numbers and strings left as they were recorded; gives each token with its kind.

    Kinds are `key`, `text`, `atom` (a number, a truth value, null), `cut` and the empty one for what stands between.
    """
    if len(text) > MOST_JSON:
        return [*_tokens(text[:MOST_JSON]), ("cut", "…")]
    return _tokens(msgspec.json.format(text, indent=2))


def _tokens(text: str) -> list[tuple[str, str]]:
    found = []
    for match in _TOKEN.finditer(text):
        string, colon, atom, rest = match.groups()
        if string is not None:
            found.append(("key" if colon is not None else "text", string))
            found.append(("", colon or ""))
        elif atom is not None:
            found.append(("atom", atom))
        else:
            found.append(("", rest))
    return [token for token in found if token[1]]
