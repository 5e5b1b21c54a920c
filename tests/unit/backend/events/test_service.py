"""The events' service: lines out of chunks, and the sentence for what is no event."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, strategies

from cos.backend.events import service
from cos.errors import BadInput
from cos.memory.event import Limits


async def chunked(parts):
    for part in parts:
        yield part


async def batches_of(parts, limits=None):
    """Give the data of each batch, and the bad line that ended them."""
    found, bad = [], None
    try:
        async for batch in service._batches(chunked(parts), limits or Limits()):
            found.append([bytes(event.data) for event in batch])  # noqa: PERF401  (what came before the error counts)
    except service._BadLine as line:
        bad = line
    return found, bad


class TestLines:
    """Lines, however they arrive."""

    @given(
        text=strategies.lists(strategies.binary(max_size=6).map(lambda b: b.replace(b"\n", b"")), max_size=6),
        cuts=strategies.lists(strategies.integers(0, 40), max_size=6),
        ended=strategies.booleans(),
    )
    async def test_any_chunks_give_the_same_lines(self, text, cuts, ended) -> None:
        """Where the chunks are cut does not matter (property)."""
        whole = b"\n".join(text) + (b"\n" if ended and text else b"")
        places = [0, *sorted(cut for cut in cuts if cut <= len(whole)), len(whole)]
        parts = [whole[a:b] for a, b in itertools.pairwise(places)]
        expected = whole.split(b"\n")
        if not expected[-1]:
            expected.pop()
        assert [line async for line in service._lines(chunked(parts), 1000)] == expected


class TestBatches:
    """What becomes durable together."""

    async def test_a_batch_is_bounded_in_records(self) -> None:
        line = b'{"type": "a"}\n'
        found, bad = await batches_of([line * (service.STREAM_BATCH * 2 + 1)])
        assert ([len(batch) for batch in found], bad) == ([service.STREAM_BATCH] * 2 + [1], None)

    async def test_a_batch_is_bounded_in_bytes(self) -> None:
        """Large events make smaller batches, and each is a whole number of events."""
        line = b'{"type": "a", "data": "' + b"x" * 700_000 + b'"}\n'
        found, bad = await batches_of([line] * 7)
        assert ([len(batch) for batch in found], bad) == ([3, 3, 1], None)

    @pytest.mark.parametrize("bad_line", [b"oops\n", b'{"type": "a", "data": "xx"}\n', b"x" * 20_000_000])
    async def test_what_stands_before_a_bad_line_comes_first(self, bad_line) -> None:
        """Whatever is wrong with it: JSON, a limit, or that it has no end."""
        good = b'{"type": "a", "data": 1}\n' * 3
        found, bad = await batches_of([good, bad_line], Limits(data_bytes=3))
        assert found == [[b"1"] * 3]
        assert bad.line == 4


class TestDecode:
    """Words for what the decoder refuses."""

    @pytest.mark.parametrize(
        ("body", "said"),
        [
            (b'{"type": "a", "subject": "\\ud800"}', "surrogate"),
            (b'{"type": "a", "subject": "\\uDFFF\\ud83d\\ude00"}', "surrogate"),
            (b'{"type": "a", "subject": "\\ud83d\\ude00"', "truncated"),
            (b'{"type": "a"', "truncated"),
            (b'{"type": 1}', r"\$.type"),
            (b"\xff", "JSON"),
        ],
    )
    def test_it_names_the_reason(self, body, said) -> None:
        with pytest.raises(BadInput, match=said):
            service._decode(service._one, body, "It")
