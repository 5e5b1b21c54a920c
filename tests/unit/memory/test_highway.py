"""What can be subscribed and projected, and the sentence for what cannot."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from cos.errors import BadSetting
from cos.memory.delivery import Event
from cos.memory.highway import Highway


class Step(msgspec.Struct):
    n: int


async def handle(event: Event[Step]) -> None: ...
async def handle_many(events: list[Event[Step]]) -> None: ...
async def apply(connection: Any, events: list[Event[Step]]) -> None: ...


class TestSubscriber:
    def test_a_function_and_a_class(self) -> None:
        highway = Highway()
        assert highway.subscriber(group="a")(handle) is handle

        @highway.subscriber(group="b", modules=["m"], types=["x*"], attempts=2)
        class Consumer:
            async def handle(self, event: Event) -> None: ...

        first, second = highway.subscriptions
        assert (first.policy.batch, first.modules) == (1, None)
        assert (second.policy.attempts, second.modules, second.types) == (2, ("m",), ("x*",))
        assert second.describe()["handler"].endswith("Consumer.handle")

    @pytest.mark.parametrize(
        ("members", "said"),
        [
            ({"group": "a b"}, "group 'a b'"),
            ({"group": ""}, "group ''"),
            ({"group": "a", "modules": ["x:y"]}, "module 'x:y'"),
            ({"group": "a", "modules": "cc"}, r"\['cc'\]"),
            ({"group": "a", "begin": "now"}, "'now'"),
            ({"group": "a", "attemts": 3}, "attemts"),
            ({"group": "a", "attempts": 0}, "attempts"),
        ],
    )
    def test_what_cannot_be_is_named(self, members, said) -> None:
        with pytest.raises(BadSetting, match=said):
            Highway().subscriber(**members)(handle)

    def test_order_and_lists_exclude_each_other(self) -> None:
        with pytest.raises(BadSetting, match="one event at a time"):
            Highway().subscriber(group="a", ordered=True)(handle_many)

    def test_a_group_has_one_subscriber(self) -> None:
        highway = Highway()
        highway.subscriber(group="a")(handle)
        with pytest.raises(BadSetting, match="already"):
            highway.subscriber(group="a")(handle)


class TestProjection:
    def test_its_schemas(self) -> None:
        highway = Highway()
        highway.projection(name="words", setup="CREATE TABLE t (n int)", version=3)(apply)
        [one] = highway.projections
        schemas = [one.schema(slot) for slot in ("live", "next", "old")]
        assert schemas == ["projection_words", "projection_words__next", "projection_words__old"]
        assert (one.setup, one.version) == (("CREATE TABLE t (n int)",), 3)

    @pytest.mark.parametrize(
        ("members", "given", "said"),
        [
            ({"name": "Words"}, apply, "Words"),
            ({"name": 'w"; DROP'}, apply, "DROP"),
            ({"name": "w" * 41}, apply, "at most 40"),
            ({"name": "w", "version": 0}, apply, "version"),
            ({"name": "w", "batch": 10**9}, apply, "batch"),
            ({"name": "w", "on_poison": "skip"}, apply, "skip"),
            ({"name": "w", "nonsense": 1}, apply, "nonsense"),
            ({"name": "w"}, handle, "connection and a list"),
        ],
    )
    def test_what_cannot_be_is_named(self, members, given, said) -> None:
        with pytest.raises(BadSetting, match=said):
            Highway().projection(**members)(given)
