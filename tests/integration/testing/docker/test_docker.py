"""Containers of a real engine: paused, stopped, killed, cut off, and always back."""

from __future__ import annotations

import random
import sys

import pytest

from cos.errors import Unavailable
from cos.testing.eventually import eventually

VERBS = ("pause", "stop", "kill")
STEPS = ("born", "guarded", "armed", "healed", "closed")


def state(engine, name: str) -> str:
    return str(engine.container(name)["State"]["Status"])


class TestLease:
    """A container's faults."""

    @pytest.mark.parametrize(("verb", "there"), [("pause", "paused"), ("stop", "exited"), ("kill", "exited")])
    def test_it_is_there_and_gone(self, faults, engine, container, verb, there) -> None:
        """The state is the engine's own word for it."""
        name = container()
        with getattr(faults.docker(name), verb)():
            assert state(engine, name) == there
        assert state(engine, name) == "running"
        faults.quiet()

    def test_cut_off_and_connected_as_before(self, faults, engine, container, network) -> None:
        """Its name on the network and its address are the same afterwards."""
        name = container(NetworkMode="none")
        engine.call("POST", "/networks/none/disconnect", {"Container": name})
        wish = {"Container": name, "EndpointConfig": {"Aliases": ["the-redis"]}}
        assert engine.call("POST", f"/networks/{network}/connect", wish)[0] == 200
        with faults.docker(name).disconnect():
            assert network not in engine.container(name)["NetworkSettings"]["Networks"]
        assert "the-redis" in engine.container(name)["NetworkSettings"]["Networks"][network]["Aliases"]

    def test_the_deadline_ends_it(self, faults, engine, container) -> None:
        name = container()
        faults.docker(name).pause(seconds=0.05)
        eventually(lambda: state(engine, name) == "running")

    def test_somebody_was_quicker(self, faults, engine, container) -> None:
        """A container that was unpaused or removed by others is healed."""
        name, other = container(), container()
        lease, second = faults.docker(name).pause(), faults.docker(other).kill()
        engine.call("POST", f"/containers/{name}/unpause")
        engine.call("DELETE", f"/containers/{other}?force=1")
        lease.heal()
        second.heal()
        assert state(engine, name) == "running"
        faults.quiet()


class TestKilledOwners:
    """Nobody ever clicks "play"."""

    @pytest.mark.parametrize("verb", VERBS)
    def test_none_is_left_paused_or_stopped(
        self, nursery, engine, address, container, tmp_path, verb
    ) -> None:
        """Owners are killed at every step of the lease and at random moments between: a hundred in all."""
        dice = random.Random(verb)  # noqa: S311
        name = container()
        wish = {"engine": address, "name": name, "verb": verb}
        order = {"journals": str(tmp_path), "kind": "container", "wish": wish}
        for number in range({"pause": 60, "stop": 20, "kill": 20}[verb]):
            nursery.owner(order, step=STEPS[number % 5], after=dice.uniform(0, 0.08))
            eventually(lambda: not any(tmp_path.glob("*")), seconds=30)
            assert state(engine, name) == "running"


class TestRefusals:
    """What a person reads."""

    @pytest.mark.parametrize(
        ("make", "sentence"),
        [
            (
                lambda faults, _: faults.docker("no-such-one").pause(),
                "There is no container 'no-such-one'; running are:",
            ),
            (
                lambda faults, name: [faults.docker(name).pause(), faults.docker(name).stop()],
                "is paused, not running",
            ),
            (
                lambda faults, name: faults.docker(name).disconnect(),
                "is on no network that it could be cut off from",
            ),
            (
                lambda faults, name: faults.docker(name, engine="unix:///no").kill(),
                "No Docker engine answers at unix",
            ),
            (lambda faults, name: faults.docker(name, engine="ssh://x").kill(), "write it as unix:///path"),
        ],
    )
    def test_it_is_told(self, faults, container, make, sentence) -> None:
        with pytest.raises(Unavailable, match=sentence):
            make(faults, container())

    def test_one_that_would_be_lost(self, faults, container) -> None:
        """With --rm the engine removes what stops, and nothing could bring it back."""
        with pytest.raises(Unavailable, match="started with --rm"):
            faults.docker(container(AutoRemove=True)).kill()


@pytest.mark.parametrize("given", [sys.executable])
def test_something_else_listens(faults, given) -> None:
    """A file that is no socket is no engine."""
    with pytest.raises(Unavailable, match="No Docker engine answers"):
        faults.docker("x", engine=f"unix://{given}").pause()
