"""Faults of a Docker container: paused, stopped, killed, or cut off from its networks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from cos.testing.guard.engine import Engine, EngineAway
from cos.testing.guard.wound import NotHealed, Refused

if TYPE_CHECKING:
    from cos.testing.guard.wound import Note

_FINE: Final = frozenset({200, 201, 204, 304})
_GONE: Final = 404
_STOP_SECONDS: Final = 10


class Container:
    """What the engine can do to a container and undo again."""

    def note(self, wish: Note) -> Note:
        """Keep its id and, for a cut, its networks as they are.

        Raises:
            Refused: it does not run, is paused already, or would be lost.
        """
        name, verb = wish["name"], wish["verb"]
        found = Engine(wish["engine"]).container(name)
        state = found["State"]
        if state.get("Paused") or not state.get("Running"):
            what = state.get("Status", "not running")
            raise Refused(f"The container {name!r} is {what}, not running: start it before a fault is made.")
        if verb in {"stop", "kill"} and found["HostConfig"].get("AutoRemove"):
            raise Refused(
                f"The container {name!r} was started with --rm, so {verb}() would lose it: start it without."
            )
        networks = found["NetworkSettings"].get("Networks") or {}
        if verb == "disconnect" and not set(networks) - {"none", "host"}:
            raise Refused(f"The container {name!r} is on no network that it could be cut off from.")
        return {
            **wish,
            "id": found["Id"],
            "networks": {key: _endpoint(value) for key, value in networks.items()},
        }

    def strike(self, note: Note) -> None:
        """Do it.

        Raises:
            Refused: the engine would not; quotes why.
        """
        match note["verb"]:
            case "pause" | "kill" as verb:
                _do(note, f"/containers/{note['id']}/{verb}")
            case "stop":
                _do(note, f"/containers/{note['id']}/stop?t={_STOP_SECONDS}")
            case _:
                for network in note["networks"]:
                    body = {"Container": note["id"], "Force": True}
                    _do(note, f"/networks/{quote(network, safe='')}/disconnect", body)

    def heal(self, note: Note) -> None:
        """Look at how it is and make it run again.

        Raises:
            NotHealed: the engine does not answer, or would not.
        """
        try:
            status, found = Engine(note["engine"]).call("GET", f"/containers/{note['id']}/json")
            if status == _GONE:
                return
            if found["State"].get("Paused"):
                _do(note, f"/containers/{note['id']}/unpause")
            elif not found["State"].get("Running") and note["verb"] in {"stop", "kill"}:
                _do(note, f"/containers/{note['id']}/start")
            if note["verb"] == "disconnect":
                self._connect(note, set(found["NetworkSettings"].get("Networks") or {}))
        except (Refused, EngineAway) as error:
            raise NotHealed(str(error)) from error

    def _connect(self, note: Note, there: set[str]) -> None:
        for network, endpoint in note["networks"].items():
            if network not in there:
                body = {"Container": note["id"], "EndpointConfig": endpoint}
                _do(note, f"/networks/{quote(network, safe='')}/connect", body)


def _endpoint(found: dict[str, Any]) -> dict[str, Any]:
    """Keep what was asked for when the container was connected: its addresses, names and links."""
    return {name: found[name] for name in ("IPAMConfig", "Links", "Aliases", "DriverOpts") if found.get(name)}


def _do(note: Note, path: str, body: Any = None) -> None:
    status, answer = Engine(note["engine"]).call("POST", path, body)
    if status not in _FINE:
        said = (answer or {}).get("message", f"status {status}")
        raise Refused(f"The Docker engine refused to {note['verb']} {note['name']!r}: {said}.")
