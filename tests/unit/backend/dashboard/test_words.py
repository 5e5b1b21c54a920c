"""How the dashboard writes: numbers, times and JSON as a person reads them."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cos.backend.dashboard import words
from cos.common import clock

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "not measured yet"),
        (0, "0"),
        (9508, "9,508"),
        (0.042, "0.042"),
        (0.999, "1"),
        (3.14159, "3.1"),
        (1234.5, "1,234"),
    ],
)
def test_numbers(value, text) -> None:
    assert words.number(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "not measured yet"),
        (0, "0 s"),
        (0.00042, "0.42 ms"),
        (0.2, "200 ms"),
        (4.18, "4.18 s"),
        (59, "59 s"),
        (60, "1 min"),
        (3600, "1 h"),
        (7800, "2 h 10 min"),
        (90_000, "1 d 1 h"),
    ],
)
def test_durations(seconds, text) -> None:
    assert words.duration(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (1023, "1,023 B"), (1536, "1.5 KiB"), (3 * 2**40, "3 TiB")]
)
def test_sizes(count, text) -> None:
    assert words.size(count) == text


class TestWhen:
    @pytest.mark.parametrize(
        ("time", "beginning"),
        [
            ("2026-05-04T09:30:00+00:00", ""),
            ("2026-02-01T12:00:00+00:00", "1 Feb, "),
            ("2015-12-11T12:00:00Z", "11 Dec 2015, "),
        ],
    )
    def test_the_day_stands_where_it_is_not_today(self, time, beginning) -> None:
        """The hour alone for today, the day for this year, the year for all others; the whole for machines."""

        class Noon(clock.SystemClock):
            def now(self) -> datetime:
                return datetime(2026, 5, 4, 12, tzinfo=UTC)

        with clock.use_clock(Noon()):
            told = words.when(datetime.fromisoformat(time))
        assert told.short.startswith(beginning)
        assert datetime.fromisoformat(told.machine) == datetime.fromisoformat(time)


class TestSummary:
    def test_the_most_telling_comes_first(self) -> None:
        """Prose, then numbers, then codes; what the line says already, times and what is empty are left out."""
        known = '"at": "2015-12-11T17:50:02Z", "file": "ch01", "no": null'
        text = f'{{"commit": "6349", "n": 41, {known}, "note": "Hi, all."}}'
        assert words.summary(text, "ch01") == [("note", "Hi, all."), ("n", "41"), ("commit", "6349")]

    @pytest.mark.parametrize(
        ("text", "found"), [("null", []), ('"text"', [("", "text")]), ("[1,2]", [("", "[1,2]")])]
    )
    def test_bare_values(self, text, found) -> None:
        assert words.summary(text) == found

    @given(JSON, st.integers(min_value=0))
    def test_any_beginning_of_any_json_gives_a_line(self, value, cut) -> None:
        text = msgspec.json.encode(value).decode()
        for name, shown in words.summary(text[: cut % (len(text) + 1)]):
            assert len(name) + len(shown) >= 0


class TestPretty:
    @given(JSON)
    def test_the_tokens_are_the_json(self, value) -> None:
        """Put together, they decode to what was recorded."""
        text = msgspec.json.encode(value)
        set_in_lines = "".join(token for _, token in words.pretty(text.decode()))
        assert msgspec.json.decode(set_in_lines) == msgspec.json.decode(text)

    def test_kinds(self) -> None:
        found = [token for token in words.pretty('{"a\\"b": ["x", -1.50, true]}') if token[0]]
        assert found == [("key", '"a\\"b"'), ("text", '"x"'), ("atom", "-1.50"), ("atom", "true")]

    def test_what_is_too_long_is_cut(self) -> None:
        assert words.pretty('"' + "x" * 200_000 + '"')[-1] == ("cut", "…")
