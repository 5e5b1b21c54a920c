"""The proxy's own process: opens, changes and closes listeners as it is told, and ends with the tests."""

from __future__ import annotations

import asyncio
import json
import socket
import sys
from typing import Any, cast

from cos.testing.proxy.listener import Address, Listener
from cos.testing.proxy.weather import Weather


class Program:
    """All listeners of one pytest process."""

    def __init__(self) -> None:
        """Begin with none."""
        self._listeners: dict[str, Listener] = {}
        self._clearing: dict[str, asyncio.TimerHandle] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def serve(self, owner: socket.socket) -> None:
        """Do what the owner's lines say until it hangs up."""
        reader, writer = await asyncio.open_connection(sock=owner)
        while line := await reader.readline():
            request = json.loads(line)
            answer: dict[str, Any] = {"id": request["id"]}
            try:
                answer |= await self._do(request)
            except OSError as error:
                answer["error"] = str(error)
            writer.write(json.dumps(answer).encode() + b"\n")

    async def _do(self, request: dict[str, Any]) -> dict[str, Any]:
        key = request["key"]
        match request["do"]:
            case "open":
                listener = Listener(at=_address(request["at"]), to=_address(request["to"]))
                await listener.open()
                self._listeners[key] = listener
                return {"address": listener.address}
            case "change":
                await self._change(key, Weather(**request["weather"]), request.get("seconds"))
            case "close":
                await self._listeners.pop(key).close()
        return {}

    async def _change(self, key: str, weather: Weather, seconds: float | None) -> None:
        if (timer := self._clearing.pop(key, None)) is not None:
            timer.cancel()
        await self._listeners[key].change(weather)
        if seconds is not None:
            self._clearing[key] = asyncio.get_running_loop().call_later(seconds, self._clear, key)

    def _clear(self, key: str) -> None:
        """Let the deadline of a fault pass, also when the tests hang."""
        task = asyncio.get_running_loop().create_task(self._change(key, Weather(), None))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _address(given: str | list[Any]) -> Address:
    return given if isinstance(given, str) else cast("tuple[str, int]", tuple(given))


def main(arguments: list[str]) -> None:
    """Serve the owner at the other end of an inherited socket.

    Args:
        arguments: the socket's number.
    """
    owner = socket.socket(fileno=int(arguments[0]))
    try:
        import uvloop  # noqa: PLC0415  (where it is installed, it halves the time of a message)
    except ImportError:
        asyncio.run(Program().serve(owner))
    else:
        uvloop.run(Program().serve(owner))


if __name__ == "__main__":
    main(sys.argv[1:])
