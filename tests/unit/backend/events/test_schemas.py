"""The shapes of the events API: what an event takes from its request, and what the OpenAPI document says of it."""

from __future__ import annotations

import pytest

from cos.backend.events.schemas import EVENT_IN_SCHEMA, EventIn, StreamReceipt
from cos.common import context
from cos.memory.event import DEFAULT_LIMITS, LEVELS, NAME, TYPE, PromptTrace
from cos.memory.l1_log import Recorded
from cos.memory.position import Position

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class TestEventIn:
    """What the event lacks comes from its request."""

    @pytest.fixture
    def request_ids(self):
        tokens = context.request_id.set("req-1"), context.traceparent.set(PARENT)
        yield
        context.request_id.reset(tokens[0])
        context.traceparent.reset(tokens[1])

    def test_from_the_request(self, request_ids) -> None:
        event = EventIn(type="a").checked(DEFAULT_LIMITS, key="from-header")
        assert (event.request_id, event.traceparent, event.trace_id) == ("req-1", PARENT, PARENT[3:35])
        assert event.idempotency_key == "from-header"

    def test_its_own_wins(self, request_ids) -> None:
        """And a traceparent that is none counts as absent."""
        own = EventIn(type="a", request_id="own", trace_id="t", traceparent="no", idempotency_key="k")
        event = own.checked(DEFAULT_LIMITS, key="from-header")
        assert (event.request_id, event.trace_id, event.traceparent) == ("own", "t", PARENT)
        assert event.idempotency_key == "k"


class TestSchema:
    """The hand-made shape says what the code does."""

    def test_the_members(self) -> None:
        assert set(EVENT_IN_SCHEMA["properties"]) == set(EventIn.__struct_fields__)
        assert set(EVENT_IN_SCHEMA["properties"]["prompt"]["properties"]) == set(
            PromptTrace.__struct_fields__
        )

    def test_the_patterns_and_levels(self) -> None:
        shown = EVENT_IN_SCHEMA["properties"]
        assert shown["type"]["pattern"] == f"^{TYPE.pattern}$"
        assert shown["module"]["pattern"] == f"^{NAME.pattern}$"
        assert tuple(shown["level"]["enum"]) == LEVELS


def test_a_stream_receipt_counts() -> None:
    """New and repeated are told apart; the position is the last one's."""
    total = StreamReceipt()
    ids = [EventIn(type="a").checked(DEFAULT_LIMITS).id for _ in range(3)]
    total.add([Recorded(ids[0], Position(1, 1)), Recorded(ids[1], Position(1, 2), duplicate=True)])
    total.add([Recorded(ids[2], Position(2, 3))])
    assert (total.recorded, total.duplicates, total.last_position) == (2, 1, "2-3")
