"""Waiting, with an end."""

from __future__ import annotations

import asyncio
import threading

import pytest

from cos.errors import BadInput
from cos.testing.eventually import NeverCameTrue, eventually


class Later:
    """Comes true at the third look."""

    def __init__(self) -> None:
        self.looks = 0

    def __call__(self) -> int:
        self.looks += 1
        if self.looks == 1:
            raise ValueError("too early")
        return self.looks if self.looks > 2 else 0

    async def later(self) -> int:
        return self()


def in_thread(call):
    """Run where no loop runs."""
    found = []

    def run() -> None:
        try:
            found.append(call())
        except BaseException as error:  # noqa: BLE001  (handed on)
            found.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return found[0]


async def test_in_a_loop_it_is_awaited() -> None:
    """Async or not, and others go on meanwhile."""
    assert await eventually(Later()) == 3
    assert await eventually(Later().later) == 3
    event = asyncio.Event()
    asyncio.get_running_loop().call_later(0.01, event.set)
    assert await eventually(event.is_set)


def test_elsewhere_it_is_not() -> None:
    assert in_thread(lambda: eventually(Later())) == 3


def test_what_came_last_is_told() -> None:
    """A value, or an error with its cause."""
    error = in_thread(lambda: eventually(lambda: 0, seconds=0.01))
    assert isinstance(error, NeverCameTrue)
    assert "did not come true within 0.01 s; at last it gave 0." in str(error)

    def broken() -> None:
        raise OSError("no")

    error = in_thread(lambda: eventually(broken, seconds=0))
    assert str(error) == "broken did not come true within 0 s; at last it raised OSError: no."
    assert isinstance(error.__cause__, OSError)


def test_an_async_check_needs_a_loop() -> None:
    error = in_thread(lambda: eventually(Later().later))
    assert isinstance(error, BadInput)
    with pytest.raises(BadInput, match="call it in an async test"):
        raise error
