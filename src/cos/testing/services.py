"""The plugin's part for servers: a Postgres and a Redis for the tests, started when the first test asks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

from cos.testing.kit import Kit

if TYPE_CHECKING:
    from cos.testing.postgres import PostgresService
    from cos.testing.redis import RedisService

KIT: Final = pytest.StashKey[Kit]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the settings: in the pytest settings of the project, or on the command line."""
    group = parser.getgroup("cos", "COS test kit")
    for name, what in (
        ("postgres", "Postgres: postgresql://user@host/database"),
        ("redis", "Redis: redis://host:6379/0"),
    ):
        sentence = f"use a given {what}, instead of one that the kit starts"
        parser.addini(f"cos_{name}_url", sentence, default="")
        group.addoption(f"--cos-{name}-url", default=None, metavar="URL", help=sentence)
    parser.addini(
        "cos_postgres_settings", "name = value, one a line, for the Postgres that the kit starts", "linelist"
    )
    parser.addini(
        "cos_cache_dir", "folder for the kit's servers (usually in this account's cache)", default=""
    )
    parser.addini(
        "cos_redis_isolation",
        "flush: Redis is emptied before each test that uses it; or keep",
        default="flush",
    )


def pytest_unconfigure(config: pytest.Config) -> None:
    """End everything."""
    if (kit := config.stash.get(KIT, None)) is not None:
        del config.stash[KIT]
        kit.close()


def kit_of(config: pytest.Config) -> Kit:
    """Give this process's kit; making it starts nothing.

    Raises:
        UsageError: a setting cannot be used.
    """
    found = config.stash.get(KIT, None)
    if found is None:
        from cos.errors import CosError  # noqa: PLC0415  (nothing is loaded before it is used)
        from cos.testing.postgres import read_settings  # noqa: PLC0415  (as above)

        try:
            settings = read_settings(config.getini("cos_postgres_settings"))
        except CosError as error:
            raise pytest.UsageError(error.detail) from None
        found = config.stash[KIT] = Kit(
            project=config.rootpath,
            worker=worker_of(config),
            cache=config.getini("cos_cache_dir"),
            postgres_url=_given(config, "postgres"),
            postgres_settings=settings,
            redis_url=_given(config, "redis"),
            docker=config.getini("cos_docker_host"),
        )
        found.heal_leftovers()
    return found


def worker_of(config: pytest.Config) -> str:
    """Name this process among those of pytest-xdist; "main" without it."""
    inputs: dict[str, str] = getattr(config, "workerinput", {})
    return inputs.get("workerid", "main")


def _given(config: pytest.Config, name: str) -> str:
    option = config.getoption(f"cos_{name}_url")
    return str(config.getini(f"cos_{name}_url") if option is None else option)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Empty the Redis of the tests before a test that uses it."""
    kit = item.config.stash.get(KIT, None)
    if kit is None or not kit.has("redis") or "cos_redis" not in getattr(item, "fixturenames", ()):
        return
    marked = item.get_closest_marker("cos_isolation")
    chosen = (marked.kwargs.get("redis") if marked else None) or item.config.getini("cos_redis_isolation")
    if chosen not in {"flush", "keep"}:
        pytest.fail(f"cos_redis_isolation is {chosen!r}: it can be 'flush' or 'keep'.", pytrace=False)
    if chosen == "flush":
        kit.redis.flush()


@pytest.fixture(scope="session")
def cos_postgres(pytestconfig: pytest.Config) -> PostgresService:
    """A running Postgres: the kit's own, or the one at cos_postgres_url."""
    from cos.errors import CosError  # noqa: PLC0415  (nothing is loaded before it is used)

    try:
        return kit_of(pytestconfig).postgres
    except CosError as error:
        pytest.fail(error.detail, pytrace=False)


@pytest.fixture(scope="session")
def cos_redis(pytestconfig: pytest.Config) -> RedisService:
    """A running Redis: the kit's own, or the one at cos_redis_url. It is empty when a test begins."""
    from cos.errors import CosError  # noqa: PLC0415  (nothing is loaded before it is used)

    try:
        return kit_of(pytestconfig).redis
    except CosError as error:
        pytest.fail(error.detail, pytrace=False)
