"""The tests' side of the proxy process: addresses that lead to a server, and the weather on the way."""

from __future__ import annotations

import importlib.util
import json
import socket
import threading
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from cos.errors import BadInput, ServerFailed, Unavailable
from cos.testing.lone import start_alone
from cos.testing.proxy.weather import Weather

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable

    from cos.testing.proxy.listener import Address

_ANSWER_SECONDS: Final = 15.0


class ProxyProcess:
    """The proxy of this pytest process; it ends with it, however that ends."""

    def __init__(self) -> None:
        """Start it."""
        ours, theirs = socket.socketpair()
        found = importlib.util.find_spec("uvloop")
        paths = [str(Path(found.origin).parent.parent)] if found is not None and found.origin else []
        with theirs:
            number = theirs.fileno()
            self._process: subprocess.Popen[bytes] = start_alone(
                "cos.testing.proxy.program", [str(number)], descriptors=[number], paths=paths
            )
        ours.settimeout(_ANSWER_SECONDS)
        self._line = ours
        self._file = ours.makefile("rb")
        self._lock = threading.Lock()
        self._count = 0

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def ask(self, **request: Any) -> dict[str, Any]:
        """Have something done; returns when it is.

        Raises:
            Unavailable: it could not be done; says why.
            ServerFailed: the proxy has ended.
        """
        with self._lock:
            self._count += 1
            try:
                self._line.sendall(json.dumps({**request, "id": self._count}).encode() + b"\n")
                line = self._file.readline()
            except OSError as error:
                raise ServerFailed(f"The proxy of the test kit does not answer: {error}.") from error
        if not line:
            raise ServerFailed("The proxy of the test kit has ended; the next session starts another.")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise Unavailable(f"The proxy could not {request['do']}: {answer['error']}.")
        return answer

    def close(self) -> None:
        """End it, and every connection through it."""
        self._file.close()
        self._line.close()
        self._process.wait(_ANSWER_SECONDS)


class Route:
    """One way to a server through the proxy, and the faults that are on it now."""

    def __init__(self, process: ProxyProcess, *, at: Address, to: Address) -> None:
        """Open it.

        Args:
            process: where it runs.
            at: where to listen: a path, or a host and port 0.
            to: the server.

        Raises:
            Unavailable: the address cannot be had.
        """
        self._process = process
        self._key = str(id(self))
        self._faults: dict[str, Callable[[Weather], Weather]] = {}
        address = process.ask(do="open", key=self._key, at=at, to=to)["address"]
        self.address: Address = address if isinstance(address, str) else (str(address[0]), int(address[1]))

    def put(self, name: str, fault: Callable[[Weather], Weather], *, seconds: float) -> None:
        """Add a fault; the proxy itself clears the way after `seconds`, asked or not."""
        self._faults[name] = fault
        self._change(seconds)

    def take(self, name: str) -> None:
        """Take a fault away; the others stay."""
        if self._faults.pop(name, None) is not None:
            self._change(_ANSWER_SECONDS if self._faults else None)

    def close(self) -> None:
        """Stop listening."""
        self._process.ask(do="close", key=self._key)

    def _change(self, seconds: float | None) -> None:
        weather = Weather()
        for fault in self._faults.values():
            weather = fault(weather)
        self._process.ask(do="change", key=self._key, weather=asdict(weather), seconds=seconds)


def slow(*, latency: float, jitter: float) -> Callable[[Weather], Weather]:
    """Make each piece wait, both ways; seconds."""
    if latency < 0 or jitter < 0 or latency + jitter == 0:
        raise BadInput(
            f"slow(latency={latency}, jitter={jitter}): give seconds, 0.05 for 50 ms, none below zero."
        )
    return lambda weather: replace(weather, latency=latency, jitter=jitter)


def narrow(bytes_per_second: float) -> Callable[[Weather], Weather]:
    """Let only so much through, each way."""
    if bytes_per_second <= 0:
        raise BadInput(
            f"bandwidth({bytes_per_second}): give bytes a second above zero; blackhole() lets none through."
        )
    return lambda weather: replace(weather, bytes_per_second=bytes_per_second)


def cut(weather: Weather) -> Weather:
    """Close every connection and refuse new ones."""
    return replace(weather, state="cut")


def reset(weather: Weather) -> Weather:
    """Break every connection off as soon as it says something."""
    return replace(weather, state="reset")


def blackhole(weather: Weather) -> Weather:
    """Let nothing through and say nothing; what is sent meanwhile arrives afterwards."""
    return replace(weather, state="blackhole")


def parse_address(given: str | tuple[str, int]) -> Address:
    """Read an address: `host:port`, a pair of them, `unix:///path`, or an absolute path.

    Raises:
        BadInput: it is none.
    """
    if not isinstance(given, str):
        return given
    text = given.removeprefix("unix://").removeprefix("tcp://")
    if text.startswith("/"):
        return text
    host, _, port = text.rpartition(":")
    if host and port.isdigit():
        return host.strip("[]"), int(port)
    raise BadInput(f"The address {given!r} cannot be used: write it as host:port or unix:///path/to/socket.")
