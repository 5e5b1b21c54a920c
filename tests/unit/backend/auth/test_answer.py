"""An answer on its way out: when one without an end is ended."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from cos.backend.auth.answer import JUDGE_AGAIN_SECONDS, Answer
from cos.common import clock

START: dict[str, Any] = {"type": "http.response.start", "status": 201, "headers": []}


class Hand:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.seconds = 100.0

    def now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC)

    def monotonic(self) -> float:
        return self.seconds


@pytest.fixture
def hand() -> Iterator[Hand]:
    made = Hand()
    with clock.use_clock(made):
        yield made


class Wire:
    """What the server is given."""

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []

    async def send(self, message: Any) -> None:
        self.sent.append(dict(message))


def part(body: bytes, *, more: bool = True) -> dict[str, Any]:
    return {"type": "http.response.body", "body": body, "more_body": more}


async def refuse() -> bool:
    return False


async def allow() -> bool:
    return True


class TestStatus:
    async def test_is_known_from_the_start_of_the_answer(self) -> None:
        wire = Wire()
        answer = Answer(wire.send, https=False)
        assert answer.status == 0
        await answer.send(dict(START))
        assert answer.status == 201
        assert len(wire.sent) == 1


class TestEnd:
    async def answering(self, hand: Hand, wire: Wire) -> Answer:
        answer = Answer(wire.send, https=False)
        answer.still_allowed = refuse
        await answer.send(dict(START))
        hand.seconds += JUDGE_AGAIN_SECONDS
        return answer

    async def test_it_is_cut_when_its_token_is(self, hand) -> None:
        wire = Wire()
        answer = await self.answering(hand, wire)
        for body in (b"one", b"two"):
            await answer.send(part(body))
        assert wire.sent[1:] == [part(b"", more=False)]

    async def test_not_before_it_is_judged_again(self, hand) -> None:
        wire = Wire()
        answer = await self.answering(hand, wire)
        hand.seconds -= 0.001
        await answer.send(part(b"one"))
        assert wire.sent[1:] == [part(b"one")]

    async def test_what_ends_by_itself_is_whole(self, hand) -> None:
        """The last part of a long answer is not taken from who was allowed to ask for it."""
        wire = Wire()
        answer = await self.answering(hand, wire)
        await answer.send(part(b"end", more=False))
        assert wire.sent[1:] == [part(b"end", more=False)]

    async def test_who_is_still_allowed_goes_on_and_is_judged_anew_each_time(self, hand) -> None:
        wire = Wire()
        answer = await self.answering(hand, wire)
        answer.still_allowed = allow
        await answer.send(part(b"one"))
        answer.still_allowed = refuse
        await answer.send(part(b"two"))  # judged a moment ago
        hand.seconds += JUDGE_AGAIN_SECONDS
        await answer.send(part(b"three"))
        assert [one["body"] for one in wire.sent[1:]] == [b"one", b"two", b""]

    async def test_a_websocket_is_closed_with_a_reason(self, hand) -> None:
        wire = Wire()
        answer = Answer(wire.send, https=False)
        answer.still_allowed = refuse
        await answer.send({"type": "websocket.accept"})
        hand.seconds += JUDGE_AGAIN_SECONDS
        await answer.send({"type": "websocket.send", "text": "x"})
        assert wire.sent[-1]["type"] == "websocket.close"
        assert wire.sent[-1]["code"] == 1008
        assert "revoked" in wire.sent[-1]["reason"]
