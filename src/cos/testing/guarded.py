"""The tests' side of the guard: asks for faults and for their end, one question at a time."""

from __future__ import annotations

import json
import socket
import threading
from typing import TYPE_CHECKING, Any, Final

from cos.errors import ServerFailed, Unavailable
from cos.testing.lone import start_alone

if TYPE_CHECKING:
    from pathlib import Path

_START_SECONDS: Final = 15.0
_ANSWER_SECONDS: Final = 60.0


class GuardAway(Unavailable):
    """The guard process of the test kit has ended; the next fault starts another, which heals what it left."""


class GuardLine:
    """A running guard, and the line to it; a dead guard is replaced at the next question."""

    def __init__(self, *, journals: Path) -> None:
        """Start nothing yet.

        Args:
            journals: folder of the journals of all guards of this account.
        """
        self._journals = journals
        self._line: socket.socket | None = None
        self._buffered = b""
        self._count = 0
        self._lock = threading.Lock()
        self.pid: int | None = None

    def start(self) -> None:
        """Start the guard if there is none; what dead ones left is healed when this returns.

        Raises:
            ServerFailed: it does not begin.
        """
        with self._lock:
            if self._line is None:
                self._start()

    def arm(self, key: str, *, kind: str, wish: dict[str, Any], seconds: float) -> None:
        """Have a fault noted, then made; returns when it is there.

        Args:
            key: its name, for `heal`.
            kind: which of the guard's.
            wish: what that kind wants to know.
            seconds: after which the guard heals it, asked or not.

        Raises:
            Unavailable: it cannot be made; says why.
        """
        self.start()
        self._ask({"do": "arm", "key": key, "kind": kind, "wish": wish, "seconds": seconds})

    def heal(self, key: str) -> None:
        """Have a fault healed; returns when it is. One that is not there is healed.

        Raises:
            Unavailable: it could not be healed yet; says why. The guard goes on trying.
        """
        if self._line is None:
            self.start()  # a dead guard's faults are healed by the next one
            return
        try:
            self._ask({"do": "heal", "key": key})
        except GuardAway:
            self.start()

    def faults(self) -> list[str]:
        """List the keys of the faults that are there now."""
        self.start()
        return list(self._ask({"do": "list"})["faults"])

    def close(self) -> None:
        """Hang up: the guard heals what is left and ends."""
        with self._lock:
            if self._line is not None:
                self._line.shutdown(socket.SHUT_WR)
                self._line.settimeout(_ANSWER_SECONDS)
                try:
                    while self._line.recv(65536):
                        pass
                except OSError:
                    pass
                self._line.close()
                self._line = None

    def _start(self) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            number = theirs.fileno()
            with start_alone(
                "cos.testing.guard.program", [str(number), str(self._journals)], descriptors=[number]
            ) as process:
                process.wait(_START_SECONDS)
        ours.settimeout(_START_SECONDS)
        self._line, self._buffered = ours, b""
        try:
            self.pid = self._answer(0)["pid"]
        except (GuardAway, OSError) as error:
            self._line = None
            ours.close()
            raise ServerFailed(
                f"The guard process of the test kit did not start; can {self._journals} be written?"
            ) from error
        ours.settimeout(_ANSWER_SECONDS)

    def _ask(self, question: dict[str, Any]) -> dict[str, Any]:
        with self._lock:
            self._count += 1
            try:
                self._say({**question, "id": self._count})
                answer = self._answer(self._count)
            except (OSError, GuardAway) as error:
                if self._line is not None:
                    self._line.close()
                self._line = None
                raise GuardAway from error
        if "error" in answer:
            raise Unavailable(answer["error"])
        return answer

    def _say(self, question: dict[str, Any]) -> None:
        if self._line is None:
            raise GuardAway
        self._line.sendall(json.dumps(question).encode() + b"\n")

    def _answer(self, number: int) -> dict[str, Any]:
        if self._line is None:
            raise GuardAway
        while True:
            while b"\n" not in self._buffered:
                read = self._line.recv(65536)
                if not read:
                    raise GuardAway
                self._buffered += read
            line, _, self._buffered = self._buffered.partition(b"\n")
            answer: dict[str, Any] = json.loads(line)
            if answer["id"] == number:
                return answer
