"""How a handler's annotations become what it is given."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec
import pydantic
import pytest
from sqlalchemy.ext.asyncio import AsyncSession

from cos.common import clock, ids, messages
from cos.common.messages import Envelope
from cos.common.subscriber_policy import Unfit
from cos.errors import BadSetting
from cos.memory.delivery import Binding, Event, Reading, Types, call


class Struct(msgspec.Struct):
    n: int


class Model(pydantic.BaseModel):
    n: int


@dataclass
class Plain:
    n: int


def body(data: Any = None, **more: Any) -> bytes:
    now = clock.now()
    members: dict[str, Any] = {
        "specversion": "1.0",
        "id": ids.uuid7(),
        "source": "/cos/m",
        "type": "step",
        "time": now,
        "module": "m",
        "level": "info",
        "position": "7-3",
        "recordedtime": now,
        "data": msgspec.Raw(msgspec.json.encode({"n": 1} if data is None else data)),
    }
    return messages.encode(Envelope(**members | more))


async def whole(event: Event) -> None: ...
async def typed(event: Event[Struct]) -> None: ...
async def data_struct(data: Struct) -> None: ...
async def data_model(data: Model) -> None: ...
async def data_plain(data: Plain) -> None: ...
async def data_dict(data: dict[str, int]) -> None: ...
async def envelope_only(envelope: Envelope) -> None: ...
async def bare(event): ...
async def many(events: list[Event[Model]]) -> None: ...
async def many_data(steps: list[Struct]) -> None: ...
async def with_session(step: Struct, db: AsyncSession, event: Event, more: int = 0) -> None: ...
async def takes_nothing() -> None: ...
async def takes_more(event: Event, other: int) -> None: ...
async def takes_odd(data: object()) -> None: ...  # type: ignore[valid-type]
def not_async(event: Event) -> None: ...


class TestBinding:
    @pytest.mark.parametrize(
        ("handler", "many_", "shapes", "value"),
        [
            (whole, False, ["event"], {"n": 1}),
            (typed, False, ["event"], Struct(1)),
            (data_struct, False, ["data"], Struct(1)),
            (data_model, False, ["data"], Model(n=1)),
            (data_plain, False, ["data"], Plain(1)),
            (data_dict, False, ["data"], {"n": 1}),
            (bare, False, ["event"], {"n": 1}),
            (many, True, ["event"], Model(n=1)),
            (many_data, True, ["data"], Struct(1)),
            (with_session, False, ["data", "session", "event"], Struct(1)),
        ],
    )
    def test_shapes_and_types(self, handler, many_, shapes, value) -> None:
        binding = Binding.of(handler)
        assert (binding.many, [shape for _, shape in binding.arguments]) == (many_, shapes)
        event = Reading(binding=binding, types=Types(None)).event(body())
        assert event is not None
        assert event.data == value

    @pytest.mark.parametrize(
        ("handler", "said"),
        [
            (not_async, "async def"),
            (takes_nothing, "takes nothing"),
            (takes_more, "'other'"),
        ],
    )
    def test_what_cannot_be_called_is_refused_in_a_sentence(self, handler, said) -> None:
        with pytest.raises(BadSetting, match=said):
            Binding.of(handler)

    @pytest.mark.parametrize("data", [{"n": "x"}, [], 3, {}])
    @pytest.mark.parametrize("handler", [typed, data_model, data_plain])
    def test_data_that_does_not_fit(self, handler, data) -> None:
        with pytest.raises(Unfit, match="does not fit"):
            Reading(binding=Binding.of(handler), types=Types(None)).event(body(data))

    def test_why_it_does_not_fit_is_one_line(self) -> None:
        with pytest.raises(Unfit) as raised:
            Reading(binding=Binding.of(data_model), types=Types(None)).event(body({"n": "x"}))
        assert str(raised.value) == (
            "The data of step does not fit the handler: n: "
            "Input should be a valid integer, unable to parse string as an integer."
        )

    @pytest.mark.parametrize("raw", [b"", b"{}", b"\xff", b"[1]", b'{"type": "step"}'])
    def test_what_is_no_event(self, raw) -> None:
        with pytest.raises(Unfit, match="no event"):
            Reading(binding=Binding.of(whole), types=Types(None)).event(raw)

    async def test_each_shape_is_given(self) -> None:
        given: list[Any] = []

        async def handler(envelope: Envelope, event: Event) -> None:
            given.extend((envelope, event))

        binding = Binding.of(handler)
        event = Reading(binding=binding, types=Types(None)).event(body(subject="s"))
        assert event is not None
        await call(handler, binding, [event], None)
        assert given == [event.envelope, event]
        assert (event.subject, str(event.position), event.type, event.module) == ("s", "7-3", "step", "m")

    async def test_a_session_that_nobody_can_make(self) -> None:
        binding = Binding.of(with_session)
        event = Reading(binding=binding, types=Types(None)).event(body())
        with pytest.raises(BadSetting, match="session"):
            await call(with_session, binding, [event], None)


class TestTypes:
    @pytest.mark.parametrize(
        ("wanted", "name", "is_wanted"),
        [
            (None, "any", True),
            ([], "any", True),
            (["a"], "a", True),
            (["a"], "ab", False),
            (["a*"], "ab", True),
            (["b", "a.*"], "a", False),
            (["b", "a.*"], "a.x", True),
        ],
    )
    def test_exact_or_a_beginning(self, wanted, name, is_wanted) -> None:
        assert Types(wanted).want(name) is is_wanted
