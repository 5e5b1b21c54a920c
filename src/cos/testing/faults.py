"""The plugin's part for faults: leases that end with the test, the deadline or the process, whichever is first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from cos.testing.services import kit_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cos.testing.arming import Faults


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the settings."""
    parser.addini(
        "cos_docker_host",
        "address of the Docker engine; without it DOCKER_HOST or the usual socket",
        default="",
    )
    parser.addini(
        "cos_proxy",
        "auto (the tests reach the servers through the proxy if one of them asks for faults), always, or never",
        default="auto",
    )


def pytest_collection_finish(session: pytest.Session) -> None:
    """See whether a test needs the proxy, before the first server starts."""
    chosen = session.config.getini("cos_proxy")
    if chosen not in {"auto", "always", "never"}:
        raise pytest.UsageError(f"cos_proxy is {chosen!r}: it can be auto, always or never.")
    asked = any({"faults", "cos_faults"} & set(getattr(item, "fixturenames", ())) for item in session.items)
    if chosen == "always" or (chosen == "auto" and asked):
        kit_of(session.config).proxied = True


@pytest.fixture(scope="session")
def cos_faults(pytestconfig: pytest.Config) -> Faults:
    """The session's faults, for fixtures that need an address of `proxy` early; tests ask for `faults`."""
    from cos.errors import CosError  # noqa: PLC0415  (nothing is loaded before it is used)

    kit = kit_of(pytestconfig)
    try:
        kit.guard.start()
    except CosError as error:
        pytest.fail(error.detail, pytrace=False)
    return kit.faults


@pytest.fixture
def faults(request: pytest.FixtureRequest, cos_faults: Faults) -> Iterator[Faults]:
    """Faults of this test; when it ends they are healed and what they hurt is well again."""
    from cos.errors import CosError  # noqa: PLC0415  (nothing is loaded before it is used)

    cos_faults.used.clear()
    yield cos_faults
    request.node.user_properties.extend(("cos_fault", name) for name in cos_faults.used)
    try:
        cos_faults.quiet()
    except CosError as error:
        pytest.fail(error.detail, pytrace=False)


@pytest.fixture
def eventually() -> Callable[..., Any]:
    """Give what polls until something is true; it is awaited in an async test."""
    from cos.testing.eventually import eventually as poll  # noqa: PLC0415  (nothing is loaded before it is used)

    return poll
