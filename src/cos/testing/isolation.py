"""The plugin's part for isolation: what a test writes is gone afterwards, by a rollback or with its own database."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal, cast

import pytest

from cos.testing.services import kit_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from cos.testing.database import PostgresDatabase
    from cos.testing.isolated import IsolatedDatabase
    from cos.testing.postgres import PostgresService

Isolation = Literal["commit", "rollback"]
_KNOWN: Final = ("commit", "rollback")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the setting."""
    parser.addini(
        "cos_isolation",
        "commit (each test has a database of its own) or rollback (each test is one transaction), for every test that "
        "uses Postgres; without it, for tests that ask for cos_database",
        default="",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Declare the mark."""
    config.addinivalue_line(
        "markers",
        'cos_isolation("commit" | "rollback", redis="flush" | "keep"): how what the test writes is undone.',
    )


def pytest_itemcollected(item: pytest.Item) -> None:
    """Isolate a marked test, or with the setting every test that uses Postgres, also if it does not ask itself."""
    names: list[str] | None = getattr(item, "fixturenames", None)
    if names is None or "cos_database" in names:
        return
    marked = item.get_closest_marker("cos_isolation")
    chosen = bool(marked and marked.args)
    if chosen or (item.config.getini("cos_isolation") and "cos_postgres" in names):
        names.append("cos_database")


@pytest.fixture(scope="session")
def cos_template(pytestconfig: pytest.Config, cos_postgres: PostgresService) -> PostgresDatabase:  # noqa: ARG001  (it must be there)
    """An empty database that becomes the template of all others; `cos_schema` fills it."""
    return kit_of(pytestconfig).databases.make_template()


@pytest.fixture(scope="session")
def cos_schema(cos_template: PostgresDatabase) -> None:
    """Fill the template, once a session: a project overrides this with its migrations or its `create_all`."""


@pytest.fixture(scope="session")
def cos_engines() -> Sequence[Any]:
    """Engines, session makers or sessions of the application that every isolated test joins: a project overrides it."""
    return ()


@pytest.fixture(scope="session")
def cos_main_database(
    pytestconfig: pytest.Config,
    cos_template: PostgresDatabase,  # noqa: ARG001  (it must be there)
    cos_schema: Any,  # noqa: ARG001  (it must have run)
) -> PostgresDatabase:
    """The session's clone of the template, for an application that lives as long as the session."""
    return kit_of(pytestconfig).databases.make_main()


@pytest.fixture
def cos_database(
    request: pytest.FixtureRequest,
    cos_template: PostgresDatabase,  # noqa: ARG001  (it must be there)
    cos_schema: Any,  # noqa: ARG001  (it must have run)
    cos_engines: Sequence[Any],
) -> Iterator[IsolatedDatabase]:
    """The test's own database: a fresh clone of the template, or the main one with everything rolled back."""
    from cos.errors import CosError  # noqa: PLC0415  (nothing is loaded before it is used)
    from cos.testing.isolated import IsolatedDatabase  # noqa: PLC0415  (as above)

    try:
        isolated = IsolatedDatabase(
            databases=kit_of(request.config).databases, isolation=_isolation_of(request.node)
        )
    except CosError as error:
        pytest.fail(error.detail, pytrace=False)
    try:
        for engine in cos_engines:
            isolated.join(engine)
        yield isolated
    finally:
        try:
            isolated.close()
        except CosError as error:
            pytest.fail(error.detail, pytrace=False)


def _isolation_of(item: pytest.Item) -> Isolation:
    marked = item.get_closest_marker("cos_isolation")
    chosen = marked.args[0] if marked and marked.args else item.config.getini("cos_isolation") or "commit"
    if chosen not in _KNOWN:
        pytest.fail(f"cos_isolation is {chosen!r}: it can be 'commit' or 'rollback'.", pytrace=False)
    return cast("Isolation", chosen)
