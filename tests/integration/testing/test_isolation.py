"""What a test writes is gone afterwards, whichever way it writes."""

from __future__ import annotations

MODELS = """
import asyncio
import pytest
from sqlalchemy import String, create_engine, func, select, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, sessionmaker

class Base(DeclarativeBase):
    pass

class Book(Base):
    __tablename__ = "book"
    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str] = mapped_column(String, unique=True)

# As an application makes them: at import, for a server that is nowhere.
engine = create_engine("postgresql+psycopg://app@nowhere.invalid/app", connect_args={"application_name": "mine"})
async_engine = create_async_engine("postgresql+asyncpg://app@nowhere.invalid/app")
Session = sessionmaker(engine)
AsyncSession = async_sessionmaker(async_engine, expire_on_commit=False)

@pytest.fixture(scope="session")
def cos_schema(cos_template):
    once = create_engine(cos_template.sqlalchemy)
    Base.metadata.create_all(once)
    once.dispose()

@pytest.fixture(scope="session")
def cos_engines():
    return [Session, AsyncSession]

def count(session):
    return session.scalar(select(func.count()).select_from(Book))
"""

BOTH = """
both = pytest.mark.parametrize("isolation", [
    pytest.param("rollback", marks=pytest.mark.cos_isolation("rollback")),
    pytest.param("commit", marks=pytest.mark.cos_isolation("commit")),
])
again = pytest.mark.parametrize("time", range(3))

@both
@again
def test_sync(isolation, time):
    with Session() as session:
        assert count(session) == 0
        session.add(Book(title="a"))
        session.commit()
        session.add(Book(title="a"))
        with pytest.raises(IntegrityError):
            session.commit()
        session.rollback()
        assert count(session) == 1
        session.add(Book(title="b"))
        session.rollback()
        assert count(session) == 1
        with session.begin_nested():
            session.add(Book(title="c"))
        session.commit()
    with Session() as session:
        assert count(session) == 2
        assert session.scalar(text("SHOW application_name")) == "mine"
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO book (title) VALUES ('d')"))
    with Session.begin() as one, Session() as two:
        one.add(Book(title="e"))
        one.flush()
        assert count(two) in (3, 4)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        assert count(connection) == 4

@pytest.mark.cos_isolation("rollback")
def test_a_rollback_undoes_its_own_and_what_came_after():
    with Session() as a, Session() as b, Session() as c:
        for session in (a, b):
            session.add(Book(title=f"{session is a}"))
            session.flush()
        a.commit()
        c.add(Book(title="c"))
        c.flush()
        b.rollback()
        c.rollback()
    with Session() as session:
        assert list(session.scalars(select(Book.title))) == ["True"]

@both
async def test_async_at_once(isolation):
    async def add(title):
        async with AsyncSession() as session:
            session.add(Book(title=title))
            await session.commit()

    await asyncio.gather(*(add(str(number)) for number in range(5)))
    async with AsyncSession() as session:
        assert await session.scalar(select(func.count()).select_from(Book)) == 5

@both
@again
async def test_async(isolation, time):
    async with AsyncSession() as session:
        assert await session.scalar(select(func.count()).select_from(Book)) == 0
        session.add(Book(title="a"))
        await session.commit()
        session.add(Book(title="a"))
        with pytest.raises(IntegrityError):
            await session.commit()
        await session.rollback()

    async def add(title):
        async with AsyncSession.begin() as session:
            session.add(Book(title=title))

    await asyncio.gather(add("b"), add("c"))
    async with AsyncSession() as session:
        assert await session.scalar(select(func.count()).select_from(Book)) == 3

@pytest.mark.cos_isolation("commit")
def test_commits_are_real(cos_database):
    with Session.begin() as session:
        session.add(Book(title="a"))
    with cos_database.connect() as other:
        assert other.execute("SELECT title FROM book").fetchall() == [("a",)]

@pytest.mark.cos_isolation("rollback")
def test_rollbacks_are_not(cos_database):
    with Session.begin() as session:
        session.add(Book(title="a"))
    with cos_database.connect() as other:
        assert other.execute("SELECT title FROM book").fetchall() == []
"""

WRONG = """
@pytest.mark.cos_isolation("rollback")
def test_past_sqlalchemy(cos_database):
    with Session() as session:
        session.add(Book(title="a"))
        session.flush()
        raw = engine.raw_connection()
        raw.driver_connection.commit()

@pytest.mark.cos_isolation("rollback")
def test_another_level(cos_database):
    with engine.connect().execution_options(isolation_level="SERIALIZABLE"):
        pass

def test_nothing_to_join(cos_database):
    cos_database.join(object())

def test_twice(cos_database):
    cos_database.join(engine)

@pytest.mark.cos_isolation("sometimes")
def test_unknown():
    pass
"""

LOGGED = """
@pytest.mark.cos_isolation("rollback")
def test_rolled_back(commits):
    with Session.begin() as session:
        session.add(Book(title="a"))
    assert [one.kind for one in commits] == ["joined"]

@pytest.mark.cos_isolation("commit")
def test_real(commits):
    with Session.begin() as session:
        session.add(Book(title="a"))
    assert [one.kind for one in commits] == ["real"]
"""

SETTING = """
@pytest.fixture(scope="session")
def app(cos_postgres):
    return Session

@pytest.mark.parametrize("time", range(2))
def test_it_is_isolated_unasked(app, time):
    with app.begin() as session:
        assert count(session) == 0
        session.add(Book(title="a"))

def test_join_and_leave(cos_database):
    other = create_engine("postgresql+psycopg://nobody@nowhere.invalid/x")
    with cos_database.join(other):
        with other.connect() as connection:
            assert connection.scalar(text("SELECT count(*) FROM book")) == 0
    assert other.url.host == "nowhere.invalid"
    assert type(other.pool).__name__ == "QueuePool"
    other.dispose()
"""

FAULTY = """
@pytest.mark.cos_isolation("rollback")
@pytest.mark.parametrize("time", range(2))
def test_survives_a_kill(faults, time):
    with Session.begin() as session:
        assert count(session) == 0
        session.add(Book(title="a"))
    with faults.postgres.kill():
        pass
"""


class TestIsolation:
    """Both kinds, for both kinds of engine."""

    def test_nothing_is_left(self, project) -> None:
        """Commits, savepoints, failures, two sessions at once and autocommit: the next test sees none of it."""
        project.write(MODELS + BOTH)
        out = project.run()
        assert "17 passed" in out, out

    def test_nothing_is_left_with_one_loop_for_all(self, project) -> None:
        """Connections are kept from test to test where the loop is."""
        project.write(MODELS + BOTH)
        scope = "asyncio_default_test_loop_scope = session"
        out = project.run("-k", "async", settings=scope)
        assert "8 passed" in out, out

    def test_the_setting_is_enough(self, project) -> None:
        """With `cos_isolation` in the settings a test that uses Postgres need not ask."""
        project.write(MODELS + SETTING)
        out = project.run(settings="cos_isolation = rollback")
        assert "3 passed" in out, out

    def test_the_commit_log_knows(self, project) -> None:
        """A commit that is rolled back in the end is told as joined, one in a clone as real."""
        project.write(MODELS + LOGGED)
        out = project.run()
        assert "2 passed" in out, out

    def test_a_lost_server_is_no_lost_suite(self, project) -> None:
        """The next test has a connection again after the server was killed in this one."""
        project.write(MODELS + FAULTY)
        out = project.run()
        assert "2 passed" in out, out

    def test_what_cannot_be_is_told(self, project) -> None:
        """A commit past SQLAlchemy, a level that cannot change, a thing without an engine, a second join."""
        project.write(MODELS + WRONG)
        out = project.run("-W", "ignore")
        for sentence in (
            "committed on the driver's own connection, past SQLAlchemy",
            "cannot change to the isolation level SERIALIZABLE",
            "behind which there is no engine",
            "has joined a test's database already",
            "cos_isolation is 'sometimes'",
        ):
            assert sentence in out
