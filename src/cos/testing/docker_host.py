"""Where the Docker engine of this account is."""

from __future__ import annotations

import os
from pathlib import Path


def docker_host(given: str) -> str:
    """Give the engine's address: the one that was set, DOCKER_HOST, or the first socket that is there.

    Args:
        given: what the project set; empty for nothing.
    """
    # Every tool of Docker reads it, so a test that talks to another engine than `docker ps` would be a trap.
    environ = os.environ  # house: environment (Docker's own variable, none of ours)
    named = given or environ.get("DOCKER_HOST", "")
    if named:
        return named
    home = Path.home()
    usual = Path("/var/run/docker.sock")
    places = (
        usual,
        Path(f"/run/user/{os.geteuid()}/docker.sock"),  # rootless
        home / ".docker/run/docker.sock",  # Docker Desktop
        home / ".docker/desktop/docker.sock",
        home / ".colima/default/docker.sock",
    )
    return f"unix://{next((place for place in places if place.exists()), usual)}"
