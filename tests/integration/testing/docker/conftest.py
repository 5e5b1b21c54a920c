"""A real Docker engine with an image of our own; where there is none, these tests are left out and that is told."""

from __future__ import annotations

import http.client
import io
import json
import socket
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cos.common.ids import random_hex
from cos.infra.binaries import find_redis_server
from cos.testing.docker_host import docker_host
from cos.testing.guard.engine import Engine
from cos.testing.guard.wound import Refused

HERE = Path(__file__).parent
IMAGE = "cos-testing-redis"
NOT_RUN = pytest.StashKey[str]()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect these tests where no engine answers: a skip would count as a success."""
    ours = [item for item in items if HERE in item.path.parents]
    if not ours:
        return
    try:
        Engine(docker_host("")).call("GET", "/version")
    except Refused as error:
        items[:] = [item for item in items if HERE not in item.path.parents]
        config.hook.pytest_deselected(items=ours)
        config.stash[NOT_RUN] = f"{len(ours)} tests of Docker did NOT run: {error}"


def pytest_terminal_summary(terminalreporter, config: pytest.Config) -> None:
    """Say it where nobody overlooks it."""
    if NOT_RUN in config.stash:
        terminalreporter.section("not run")
        terminalreporter.write_line(config.stash[NOT_RUN])


@pytest.fixture(scope="session")
def address() -> str:
    return docker_host("")


@pytest.fixture(scope="session")
def engine(address: str) -> Engine:
    """The engine, with an image that holds redis-server, its libraries, and nothing else."""
    engine = Engine(address)
    status, _ = engine.call("GET", f"/images/{IMAGE}/json")
    if status == 404:
        import_image(address.removeprefix("unix://"))
    return engine


def import_image(path: str) -> None:
    program = find_redis_server()
    told = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
    libraries = [word for word in told.split() if word.startswith("/")]
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        tar.add(program, "redis-server")
        for library in libraries:
            tar.add(Path(library).resolve(), library.lstrip("/"))
    connection = http.client.HTTPConnection("docker", timeout=60)
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.connect(path)
    headers = {"Content-Type": "application/x-tar"}
    connection.request("POST", f"/images/create?fromSrc=-&repo={IMAGE}", packed.getvalue(), headers)
    answer = connection.getresponse().read()
    connection.close()
    assert b"sha256:" in answer, answer


Make = Callable[..., str]


@pytest.fixture
def container(engine: Engine) -> Iterator[Make]:
    """Make and start a container of Redis; gives its name."""
    made = []

    def make(**host: object) -> str:
        name = f"cos_testing_{random_hex(4)}"
        body = {
            "Image": IMAGE,
            "Cmd": ["/redis-server", "--save", ""],
            "Labels": {"cos.testing": "yes"},
            "HostConfig": {"NetworkMode": "none", **host},
        }
        status, told = engine.call("POST", f"/containers/create?name={name}", body)
        assert status == 201, told
        made.append(name)
        status, told = engine.call("POST", f"/containers/{name}/start")
        assert status == 204, told
        return name

    yield make
    for name in made:
        engine.call("DELETE", f"/containers/{name}?force=1")


@pytest.fixture
def network(engine: Engine) -> Iterator[str]:
    """A network of our own."""
    name = f"cos_testing_{random_hex(4)}"
    status, told = engine.call("POST", "/networks/create", {"Name": name, "Internal": True})
    assert status == 201, json.dumps(told)
    yield name
    engine.call("DELETE", f"/networks/{name}")
