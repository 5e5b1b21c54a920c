"""A Redis that has no memory left: its limit is put under what it uses, and writes are refused with OOM."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Final, Self

from cos.testing.guard.wound import NotHealed, Refused

if TYPE_CHECKING:
    from cos.testing.guard.wound import Note

_SECONDS: Final = 2.0
_SETTINGS: Final = ("maxmemory", "maxmemory-policy")


class FullRedis:
    """CONFIG SET maxmemory, and back."""

    def note(self, wish: Note) -> Note:
        """Keep the settings as they are."""
        try:
            with _Talk(wish) as talk:
                before = {name: talk.say("CONFIG", "GET", name)[1] for name in _SETTINGS}
        except (OSError, Refused, IndexError) as error:
            raise Refused(f"Redis does not let its memory be limited: {error}.") from error
        return {**wish, "before": before}

    def strike(self, note: Note) -> None:
        """Leave it a single byte, and forbid it to throw anything away."""
        with _Talk(note) as talk:
            talk.say("CONFIG", "SET", "maxmemory-policy", "noeviction")
            talk.say("CONFIG", "SET", "maxmemory", "1")

    def heal(self, note: Note) -> None:
        """Give the settings back."""
        try:
            with _Talk(note) as talk:
                for name in _SETTINGS:
                    talk.say("CONFIG", "SET", name, note["before"][name])
        except (FileNotFoundError, ConnectionRefusedError):
            # It is down; limits set at run time are not kept, so it comes back without.
            return
        except (OSError, Refused) as error:
            raise NotHealed(f"Redis does not take its memory back: {error}") from error


class _Talk:
    """One conversation in the protocol of Redis."""

    def __init__(self, note: Note) -> None:
        place = note["path"] or (note["host"], note["port"])
        self._socket = socket.socket(socket.AF_UNIX if note["path"] else socket.AF_INET)
        self._socket.settimeout(_SECONDS)
        try:
            if note["path"]:
                self._socket.connect(place)
            else:
                self._socket.close()
                self._socket = socket.create_connection(place, _SECONDS)
            self._file = self._socket.makefile("rb")
            if note.get("password"):
                self.say("AUTH", *([note["user"]] if note.get("user") else []), note["password"])
        except BaseException:
            self._socket.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._socket.close()

    def say(self, *words: str) -> list[str]:
        """Send a command; gives the strings of its answer."""
        parts = [f"${len(word.encode())}\r\n{word}\r\n" for word in words]
        self._socket.sendall(f"*{len(words)}\r\n{''.join(parts)}".encode())
        return self._answer()

    def _answer(self) -> list[str]:
        line = self._file.readline().decode().rstrip()
        if not line:
            raise ConnectionResetError("it hung up")
        kind, rest = line[0], line[1:]
        if kind == "-":
            raise Refused(rest)
        if kind == "*":
            return [word for _ in range(int(rest)) for word in self._answer()]
        if kind == "$":
            return [self._file.read(int(rest) + 2)[:-2].decode()]
        return [rest]
