"""What is kept of the ids that a caller sends, and that tasks do not mix them up."""

from __future__ import annotations

import asyncio
from uuid import UUID

import pytest

from cos.common import context

PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.mark.parametrize("given", ["req-1", "a", "0" * 128, "A.b_c:d+e/f=g@h-i"])
def test_a_safe_request_id_is_kept(given) -> None:
    assert context.accept_request_id(given) == given


@pytest.mark.parametrize("given", [None, "", "-a", "a b", "a\nb", "a\n", "é", "a\x00", "x" * 129, '"'])
def test_any_other_request_id_is_replaced(given) -> None:
    """Nothing that could forge a log line or a header comes through."""
    assert UUID(context.accept_request_id(given)).version == 7


def test_a_trace_parent_is_kept_and_names_its_trace() -> None:
    assert context.accept_traceparent(PARENT) == PARENT
    assert context.trace_id_of(PARENT) == "4bf92f3577b34da6a3ce929d0e0e4736"
    assert context.trace_id_of(None) is None


@pytest.mark.parametrize(
    "given",
    [None, "", PARENT.upper(), PARENT + "\n", PARENT[:-1], f"00-{'0' * 32}-00f067aa0ba902b7-01", "00-x-y-01"],
)
def test_any_other_trace_parent_counts_as_absent(given) -> None:
    assert context.accept_traceparent(given) is None


async def test_each_task_has_its_own_request_id() -> None:
    async def serve(name: str) -> str | None:
        context.request_id.set(name)
        await asyncio.sleep(0)
        return context.request_id.get()

    assert await asyncio.gather(*(serve(f"r{n}") for n in range(5))) == [f"r{n}" for n in range(5)]
    assert context.request_id.get() is None
