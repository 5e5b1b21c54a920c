"""Whatever JSON is sent: an answer, never a fault of the server (property, seeded)."""

from __future__ import annotations

import json

import hypothesis
import pytest
from hypothesis import HealthCheck, strategies

# Texts that have broken servers before, and names that our routes know, so that the deep code is reached.
NASTY = (
    *("", "\x00", "\ud800", "\udfff\ud800", "a" * 300, "1e999", "NaN", "\U0001f4a5", "%00", "a\nb"),
    *("2026-01-31T12:00:00", "null", "0001-01-01T00:00:00+14:00"),
)
NAMES = (
    *("type", "module", "subject", "data", "level", "time", "request_id", "trace_id", "traceparent"),
    *("idempotency_key", "prompt", "response", "model", "latency_ms", "tokens_in", "tokens_out"),
    *("name", "version", "config", "active", "event_type", "payload", "prompt_data"),
)
GOOD = ("a", "chapter.saved", "cc", "info", "2026-01-31T12:00:00Z", "1.0")

texts = strategies.one_of(
    strategies.sampled_from(NASTY + GOOD),
    strategies.text(strategies.characters(exclude_categories=()), max_size=20),
)
numbers = strategies.one_of(
    strategies.integers(),
    strategies.floats(),
    strategies.sampled_from([2**31, 2**63, 2**64, -(2**63), 10**400, -0.0, 1e308]),
)
scalars = strategies.one_of(strategies.none(), strategies.booleans(), numbers, texts)
values = strategies.recursive(
    scalars,
    lambda inner: strategies.one_of(
        strategies.lists(inner, max_size=4),
        strategies.dictionaries(strategies.one_of(strategies.sampled_from(NAMES), texts), inner, max_size=4),
    ),
    max_leaves=12,
)


def nearly(**required: tuple[str, ...]) -> strategies.SearchStrategy:
    """Give objects that are nearly right: the wanted members mostly good, others from anywhere."""
    wanted = {
        name: strategies.one_of(strategies.sampled_from(good), values) for name, good in required.items()
    }
    others = strategies.dictionaries(strategies.sampled_from(NAMES), values, max_size=3)
    return strategies.tuples(others, strategies.fixed_dictionaries(wanted)).map(
        lambda pair: pair[0] | pair[1]
    )


prompts = strategies.dictionaries(
    strategies.one_of(strategies.sampled_from(NAMES), texts), scalars, max_size=3
)
events = nearly(type=("a", "chapter.saved"))
BODIES = {
    "/events": strategies.one_of(values, events, strategies.lists(events, max_size=4)),
    "/cc/modules": strategies.one_of(values, nearly(name=("a", "b"), version=("1",))),
    "/cc/debug/log": strategies.one_of(
        values,
        nearly(event_type=("a", "b")),
        strategies.builds(lambda p: {"event_type": "a", "prompt_data": p}, prompts),
    ),
}


def written(body: object, cut: int) -> bytes:
    """Write it as Python does, NaN, lone surrogates and all; sometimes only the half of it."""
    text = json.dumps(body, ensure_ascii=True).encode()
    return text[: len(text) * cut // 4] if cut < 4 else text


def seeded(examples: int):
    """Try so many examples, the same ones each time."""

    def decorate(test):
        chosen = hypothesis.settings(
            max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck)
        )
        return hypothesis.seed(20260131)(chosen(test))

    return decorate


@pytest.fixture
def sent(steady, problem, monkeypatch):
    """Send a body; the answer is good, or a problem with a sentence that blames the body."""
    # No relay runs here, and none is needed for this: the debug log shall not wait for one.
    monkeypatch.setattr("cos.backend.cc.service.READ_BACK_SECONDS", 0.0)

    async def send(path: str, body: object, cut: int, kind: str) -> None:
        answer = await steady.post(path, content=written(body, cut), headers={"content-type": kind})
        if answer.is_success:
            assert answer.json() is not None
        else:
            assert 400 <= answer.status_code < 500, answer.text
            assert problem(answer, answer.status_code)["detail"]

    return send


CUTS = strategies.sampled_from([4, 4, 4, 4, 1, 2, 3])


@seeded(80)
@hypothesis.given(body=BODIES["/events"], cut=CUTS)
async def test_events(sent, body, cut) -> None:
    """POST /events as JSON and as lines."""
    await sent("/events", body, cut, "application/json")
    assert await sent("/events", body, cut, "application/x-ndjson") is None


@seeded(60)
@hypothesis.given(body=BODIES["/cc/modules"], cut=CUTS)
async def test_modules(sent, body, cut) -> None:
    """POST /cc/modules."""
    assert await sent("/cc/modules", body, cut, "application/json") is None


@seeded(80)
@hypothesis.given(body=BODIES["/cc/debug/log"], cut=CUTS)
async def test_debug_log(sent, body, cut) -> None:
    """POST /cc/debug/log."""
    assert await sent("/cc/debug/log", body, cut, "application/json") is None
