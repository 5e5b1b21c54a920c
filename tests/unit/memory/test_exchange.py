"""Events as lines: what is written is read again to the byte, and what is no such line is told why."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cos.errors import CosError
from cos.memory.event import NewEvent, PromptTrace
from cos.memory.exchange import Prompt, end_of, event_of, line_of, read_end

TEXTS = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=40)
TIMES = st.datetimes(min_value=datetime(1, 1, 2), max_value=datetime(9999, 12, 30)).map(  # noqa: DTZ001
    lambda time: time.replace(tzinfo=UTC)
)
NUMBERS = st.none() | st.integers(0, 2**31 - 1)
JSON = st.recursive(st.none() | st.booleans() | TEXTS | st.integers(-(2**60), 2**60), st.lists, max_leaves=5)


def row_of(event: NewEvent, prompt: Prompt | None) -> dict[str, object]:
    """Give what the database would."""
    row = {name: getattr(event, name) for name in event.__struct_fields__ if name not in {"data", "prompt"}}
    row |= {"data": bytes(event.data).decode(), "prompt_id": None}
    if prompt is not None:
        row |= {name: getattr(prompt, name) for name in PromptTrace.__struct_fields__}
        row["prompt_id"] = prompt.id
    return row


@st.composite
def rows(draw: st.DrawFn) -> dict[str, object]:
    """Any record that the log may hold, spaces and line breaks in its JSON included."""
    spaces = st.sampled_from(["", " ", "\n", "\r\n\t", "  "])
    data = (
        draw(spaces)
        + msgspec.json.format(msgspec.json.encode(draw(JSON)), indent=draw(st.integers(0, 2))).decode()
    )
    row: dict[str, object] = {
        "id": draw(st.uuids()),
        "module": draw(st.sampled_from(["cc", "a.b-c_9"])),
        "type": draw(st.sampled_from(["t", "a:b/c.d"])),
        "level": draw(st.sampled_from(["debug", "info", "critical"])),
        "time": draw(TIMES),
        "recorded_at": draw(TIMES),
        "data": data + draw(spaces),
        **{name: draw(st.none() | TEXTS) for name in ("subject", "request_id", "trace_id", "traceparent")},
        "idempotency_key": draw(st.none() | TEXTS.filter(bool)),
        "prompt_id": None,
    }
    if draw(st.booleans()):
        row |= {name: draw(st.none() | TEXTS) for name in ("prompt", "response", "model")}
        row |= {name: draw(NUMBERS) for name in ("latency_ms", "tokens_in", "tokens_out")}
        row["prompt_id"] = draw(st.uuids())
    return row


class TestRoundTrip:
    """From a row to a line to an event to the same row."""

    @settings(deadline=None)
    @given(row=rows())
    def test_nothing_is_lost_or_changed(self, row) -> None:
        line = line_of(row)
        assert b"\n" not in line
        event, prompt = event_of(line + b"\n")
        found = row_of(event, prompt)
        assert found == row
        assert line_of(found) == line

    def test_data_is_kept_as_json_where_it_can_be(self) -> None:
        """Readable for any program; as text only where a line break or a space would not survive."""
        row = row_of(*event_of(a_line(data=msgspec.Raw(b'{"b":1,  "a":1.50}'))))
        assert b'"data":{"b":1,  "a":1.50}' in line_of(row)
        assert b'"data_text":"{\\n}"' in line_of({**row, "data": "{\n}"})


def a_line(**members: object) -> bytes:
    whole = {
        "id": str(uuid.uuid4()),
        "type": "t",
        "module": "m",
        "level": "info",
        "time": "2026-01-01T00:00:00Z",
        "recorded_at": "2026-01-01T00:00:00Z",
        "data": None,
    }
    return msgspec.json.encode({name: one for name, one in (whole | members).items() if one is not ...})


class TestBadLines:
    """What cannot be brought in."""

    @pytest.mark.parametrize(
        ("line", "said"),
        [
            (b"", "no exported event"),
            (b"[]", "no exported event"),
            (b"{" * 10_000, "no exported event"),
            (b'{"a": "\xff"}', "no exported event"),
            (a_line(position="1-1"), "unknown field"),
            (a_line(id=7), "id"),
            (a_line(id=...), "id"),
            (a_line(data=...), "one of data and data_text"),
            (a_line(data_text="{}"), "one of data and data_text"),
            (a_line(data=..., data_text="{"), "not JSON"),
            (a_line(recorded_at="2026-01-01T00:00:00"), "no timezone"),
            (a_line(time="2026-01-01T00:00:00"), "no timezone"),
            (a_line(type="no type"), "event type"),
            (a_line(module=""), "module"),
            (a_line(level="loud"), "level"),
            (a_line(subject="s" * 501), "501"),
            (a_line(data="\x00"), "NUL"),
            (a_line(prompt={}), "id"),
            (a_line(prompt={"id": str(uuid.uuid4()), "tokens_in": -1}), "tokens_in"),
        ],
    )
    def test_it_says_why(self, line, said) -> None:
        with pytest.raises(CosError, match=said):
            event_of(line)


def test_the_last_line() -> None:
    """It tells the number, and nothing else is taken for it."""
    assert read_end(end_of(17)) == 17
    assert [read_end(line) for line in (b"", b"17", b'{"end":"x"}', b'{"end":1,"a":2}', a_line())] == [
        None
    ] * 5
