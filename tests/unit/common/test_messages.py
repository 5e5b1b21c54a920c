"""The envelope: what is written can be read, absent members are left out, data is kept to the byte."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cos.common import messages
from cos.common.messages import Envelope

TEXT = st.text(st.characters(exclude_categories=("Cs",)))
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)


def envelope(**more) -> Envelope:
    members = {
        "specversion": "1.0",
        "id": UUID(int=7),
        "source": "/cos/cc",
        "type": "chapter.saved",
        "time": datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC),
        "module": "cc",
        "level": "info",
        "position": "7-1",
        "recordedtime": datetime(2026, 1, 2, tzinfo=UTC),
    }
    return Envelope(**members | more)


@given(data=JSON, subject=st.none() | TEXT, ascii_only=st.booleans())
def test_written_then_read_is_the_same(data, subject, ascii_only) -> None:
    """Whatever the data is, and however its text is spelled (property)."""
    raw = json.dumps(data, ensure_ascii=ascii_only).encode()
    written = messages.encode(envelope(data=msgspec.Raw(raw), subject=subject))
    read = messages.decode(written)
    assert bytes(read.data) == raw
    assert messages.data_of(read) == data
    assert (read.subject, read.id, read.time) == (subject, UUID(int=7), envelope().time)
    assert json.loads(written)["data"] == data


def test_members_without_a_value_are_left_out() -> None:
    assert set(json.loads(messages.encode(envelope()))) == {
        *("specversion", "id", "source", "type", "time", "module", "level", "position", "recordedtime"),
    }


@pytest.mark.parametrize("raw", [b"", b"null", b"{}", b"not json", b"\xff"])
def test_what_is_no_envelope_is_refused(raw) -> None:
    with pytest.raises((msgspec.DecodeError, UnicodeDecodeError)):
        messages.decode(raw)
