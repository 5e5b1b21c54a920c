"""What is accepted as an event, and that its data is kept to the byte."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cos.errors import BadInput, TooLarge
from cos.memory.event import Limits, NewEvent, PromptTrace, new_event

TEXT = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\x00"))
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT
    | st.sampled_from(["\\u0000", "\\", "\u2028", "\U0001f600", "\x7f", "\x1f", "</script>", "é", "e\u0301"])
)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=20,
)


def made(**arguments) -> NewEvent:
    return new_event(**{"type": "chapter.saved", "module": "cc"} | arguments)


class TestData:
    @given(data=JSON, ascii_only=st.booleans(), indent=st.none() | st.integers(0, 3))
    def test_json_text_is_kept_to_the_byte(self, data, ascii_only, indent) -> None:
        """However it is spelled and laid out (property)."""
        raw = json.dumps(data, ensure_ascii=ascii_only, indent=indent).encode()
        assert bytes(made(raw_data=raw).data) == raw
        assert bytes(made(raw_data=msgspec.Raw(raw)).data) == raw

    @given(data=JSON)
    def test_python_values_read_back_the_same(self, data) -> None:
        kept = bytes(made(data=data).data)
        assert json.loads(kept) == data
        assert bytes(made(raw_data=kept).data) == kept

    @given(
        before=st.lists(st.sampled_from(["\\\\", "\\n", "x", '\\"', "\\u00e9"]), max_size=6),
        nul=st.booleans(),
    )
    def test_an_escaped_nul_is_told_from_an_escaped_backslash(self, before, nul) -> None:
        r"""`\u0000` cannot be stored; `\\u0000` is a backslash and five letters (property)."""
        raw = ('["' + "".join(before) + ("\\u0000" if nul else "\\\\u0000") + '"]').encode()
        assert ("\x00" in json.loads(raw)[0]) == nul
        if nul:
            with pytest.raises(BadInput, match="NUL character"):
                made(raw_data=raw)
        else:
            assert bytes(made(raw_data=raw).data) == raw

    @pytest.mark.parametrize("where", [["a\x00"], {"a\x00": 1}, "\x00", [[{"k": ["\x00"]}]]])
    def test_a_nul_is_found_wherever_it_stands(self, where) -> None:
        with pytest.raises(BadInput, match="NUL character"):
            made(data=where)

    @pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
    @pytest.mark.parametrize(
        "wrap", [lambda x: x, lambda x: [None, x], lambda x: {"a": (x,)}, lambda x: {"a": [{x}]}]
    )
    def test_numbers_that_json_does_not_have(self, number, wrap) -> None:
        """They are refused, never written as null behind the caller's back."""
        with pytest.raises(BadInput, match="NaN or an infinity"):
            made(data=wrap(number))

    @pytest.mark.parametrize(
        "raw",
        [
            b"",
            b"{",
            b"NaN",
            b"[Infinity]",
            b"{'a':1}",
            b"[1,]",
            b"01",
            b"1 2",
            b'"\\x"',
            b'"\\ud800"',
            b'"\\udc00\\ud800"',
        ],
    )
    def test_what_is_not_json(self, raw) -> None:
        with pytest.raises(BadInput, match="The data is not JSON that can be kept"):
            made(raw_data=raw)

    @pytest.mark.parametrize("raw", [b'"\xff"', b'{"\xc3":1}', b'"\xed\xa0\x80"'])
    def test_what_is_not_utf_8(self, raw) -> None:
        with pytest.raises(BadInput, match=r"not valid UTF-8|not JSON that can be kept"):
            made(raw_data=raw)

    @pytest.mark.parametrize("data", ["\ud800", ["\udfff"], {"\ud800": 1}])
    def test_half_a_surrogate_pair(self, data) -> None:
        with pytest.raises(BadInput, match="surrogate"):
            made(data=data)

    @pytest.mark.parametrize("data", [object(), {1j}, {"a": lambda: 0}])
    def test_what_json_cannot_say(self, data) -> None:
        with pytest.raises(BadInput, match="cannot be written as JSON"):
            made(data=data)

    @pytest.mark.parametrize("shape", ["[{}]", '{{"a":{}}}', ' [ 1, {} ,"]["]'])
    def test_the_deepest_allowed_and_one_more(self, shape) -> None:
        """Nesting counts; brackets in text and beside each other do not."""

        def nested(levels: int) -> bytes:
            text = "1"
            for _ in range(levels):
                text = shape.format(text)
            return text.encode()

        assert made(raw_data=nested(64))
        with pytest.raises(BadInput, match="nested deeper than 64 levels"):
            made(raw_data=nested(65))
        assert made(raw_data=json.dumps([[], {}] * 500 + ["[" * 500]).encode())

    def test_nesting_without_end(self) -> None:
        endless: list = []
        endless.append(endless)
        with pytest.raises(BadInput, match="nested deeper"):
            made(data=endless)
        with pytest.raises(BadInput, match="nested deeper"):
            made(raw_data=b"[" * 100_000 + b"]" * 100_000)

    @pytest.mark.parametrize("letter", ["x", "é", "\U0001f600"])
    def test_the_largest_allowed_and_one_byte_more(self, letter) -> None:
        """The limit counts bytes of JSON, not characters."""
        limits = Limits(data_bytes=1024)
        most = (1024 - 2) // len(letter.encode())
        assert made(data=letter * most, limits=limits)
        with pytest.raises(TooLarge, match="at most 1024 are allowed"):
            made(data=letter * most + "abcd", limits=limits)


class TestMembers:
    @pytest.mark.parametrize("name", ["a", "chapter.saved", "A_b.c:d/e-9", "x" * 100])
    def test_types_that_are_allowed(self, name) -> None:
        assert made(type=name).type == name

    @pytest.mark.parametrize("name", ["", "1a", ".a", "a b", "a\n", "é", "x" * 101, "a\x00", "a*", "\ud800"])
    def test_types_that_are_not(self, name) -> None:
        with pytest.raises(BadInput, match="event type"):
            made(type=name)

    @pytest.mark.parametrize("name", ["", "1a", "a b", "a\n", "a/b", "a:b", "x" * 65, "é"])
    def test_modules_that_are_not(self, name) -> None:
        """A module is part of a Redis key and of a channel."""
        with pytest.raises(BadInput, match="The module"):
            made(module=name)

    @pytest.mark.parametrize(
        ("member", "most"),
        [
            ("subject", 500),
            ("request_id", 200),
            ("trace_id", 200),
            ("traceparent", 200),
            ("idempotency_key", 200),
        ],
    )
    def test_text_has_a_length_and_can_be_stored(self, member, most) -> None:
        assert getattr(made(**{member: "é" * most}), member) == "é" * most
        for bad, named in (("x" * (most + 1), f"at most {most}"), ("a\x00", "NUL"), ("\udc80", "surrogate")):
            with pytest.raises(BadInput, match=named) as seen:
                made(**{member: bad})
            assert len(seen.value.detail) < 200
            seen.value.detail.encode()

    def test_an_empty_idempotency_key_is_a_mistake(self) -> None:
        with pytest.raises(BadInput, match="empty"):
            made(idempotency_key="")

    def test_a_level_that_nobody_knows(self) -> None:
        with pytest.raises(BadInput, match="'loud' is not one of debug, info"):
            made(level="loud")

    def test_times_are_kept_in_utc(self) -> None:
        at = datetime(2026, 1, 1, 12, tzinfo=timezone(timedelta(hours=5, minutes=30)))
        assert made(time=at).time == datetime(2026, 1, 1, 6, 30, tzinfo=UTC)
        assert made(time=at).time.tzinfo is UTC

    def test_times_that_cannot_be_kept(self) -> None:
        with pytest.raises(BadInput, match=r"no timezone; add one, for example 2026-01-01T00:00:00\+00:00"):
            made(time=datetime(2026, 1, 1))  # noqa: DTZ001
        with pytest.raises(BadInput, match="outside the years 1 to 9999"):
            made(time=datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=14))))

    def test_ids_and_times_of_recording_rise_together(self) -> None:
        events = [made() for _ in range(100)]
        assert sorted(event.id for event in events) == [event.id for event in events]
        assert sorted(event.recorded_at for event in events) == [event.recorded_at for event in events]


class TestPrompt:
    @pytest.mark.parametrize(
        ("members", "named"),
        [
            ({"prompt": "a\x00"}, "prompt trace's prompt holds a NUL"),
            ({"response": "\ud800"}, "response holds half of a surrogate"),
            ({"model": 7}, "model 7 is not text"),
            ({"latency_ms": -1}, "latency_ms -1"),
            ({"tokens_in": 2**31}, "tokens_in 2147483648"),
            ({"tokens_out": True}, "tokens_out True"),
            ({"tokens_out": 1.5}, r"tokens_out 1\.5"),
        ],
    )
    def test_what_cannot_be_stored_is_named(self, members, named) -> None:
        with pytest.raises(BadInput, match=named):
            made(prompt=PromptTrace(**members))

    def test_size_counts_the_prompt(self) -> None:
        """The queue is bounded by it."""
        plain = made().size
        assert made(prompt=PromptTrace(prompt="x" * 1000, response="y" * 500)).size >= plain + 1500
        with pytest.raises(TooLarge, match="larger than 4194304 bytes"):
            made(prompt=PromptTrace(prompt="é" * 2_097_153))


@pytest.mark.parametrize("time", [datetime.min, datetime.max])  # noqa: DTZ901  (given a zone below)
def test_a_time_that_postgres_takes_for_infinity_is_refused(time) -> None:
    """It would come back without a zone, as another time."""
    with pytest.raises(BadInput, match="first or last"):
        new_event(type="a", module="b", time=time.replace(tzinfo=UTC))
