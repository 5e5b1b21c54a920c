"""What docs/testing.md says works: its examples run, and a small application moves to the kit by it alone."""

from __future__ import annotations

import re
from pathlib import Path

from cos.testing.kit import Kit
from cos.testing.services import pytest_addoption

DOCUMENT = Path(__file__).parents[3] / "docs" / "testing.md"
SECTIONS = ("Servers", "Isolation", "Faults")

APPLICATION = """
import json
import os

import redis
from sqlalchemy import ForeignKey, create_engine, select
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, sessionmaker

class Base(DeclarativeBase):
    pass

class Note(Base):
    __tablename__ = "note"
    id: Mapped[int] = mapped_column(primary_key=True)
    text: Mapped[str]

engine = create_engine(os.environ.get("DATABASE_URL", "postgresql+psycopg://notes@db.example/notes"))
Session = sessionmaker(engine)

def create_app(redis_url):
    cache = redis.Redis.from_url(redis_url, socket_timeout=1, retry=None)

    def app(environ, start_response):
        '''GET / lists, POST / adds; the list is kept in Redis while Redis is there.'''
        if environ["REQUEST_METHOD"] == "POST":
            with Session.begin() as session:
                session.add(Note(text=environ["wsgi.input"].read().decode()))
            try:
                cache.delete("notes")
            except redis.RedisError:
                pass
            start_response("201 Created", [])
            return [b""]
        try:
            if (known := cache.get("notes")) is not None:
                start_response("200 OK", [("X-From", "cache")])
                return [known]
        except redis.RedisError:
            pass
        with Session() as session:
            found = json.dumps(list(session.scalars(select(Note.text).order_by(Note.id)))).encode()
        try:
            cache.set("notes", found)
        except redis.RedisError:
            pass
        start_response("200 OK", [("X-From", "database")])
        return [found]

    app.cache = cache
    return app
"""

CONFTEST = """
import io
import pytest
from sqlalchemy import create_engine
from application import Base, Session, create_app

@pytest.fixture(scope="session")
def cos_schema(cos_template):
    once = create_engine(cos_template.sqlalchemy)
    Base.metadata.create_all(once)
    once.dispose()

@pytest.fixture(scope="session")
def cos_engines():
    return [Session]

@pytest.fixture(scope="session")
def app(cos_redis, cos_postgres):
    app = create_app(cos_redis.url)
    yield app
    app.cache.close()

@pytest.fixture
def call(app):
    def send(method="GET", body=b""):
        told = {}
        environ = {"REQUEST_METHOD": method, "wsgi.input": io.BytesIO(body)}
        def start(status, headers):
            told.update(status=status, **dict(headers))
        return told | {"body": b"".join(app(environ, start)).decode()}
    return send
"""

TESTS = """
import pytest

@pytest.mark.parametrize("time", range(3))
def test_a_note_is_listed(call, time):
    assert call()["body"] == "[]"
    assert call("POST", b"one")["status"] == "201 Created"
    assert call()["X-From"] == "database"
    told = call()
    assert (told["body"], told["X-From"]) == ('["one"]', "cache")

@pytest.mark.parametrize("fault", ["stop", "kill", "cut", "reset", "blackhole", "freeze", "out_of_memory"])
def test_it_works_without_redis(call, faults, eventually, fault):
    call()
    with getattr(faults.redis, fault)():
        assert call("POST", b"one")["status"] == "201 Created"
        call("POST", b"two")
    faults.quiet()

@pytest.mark.cos_isolation("commit")
def test_a_commit_is_real(call, cos_database):
    call("POST", b"one")
    with cos_database.connect() as other:
        assert other.execute("SELECT text FROM note").fetchall() == [("one",)]

def test_it_recovers(call, faults, eventually):
    with faults.postgres.kill():
        with pytest.raises(Exception):
            call("POST", b"lost")
"""


def examples(text: str) -> list[str]:
    """Give the Python of each section that is ours."""
    parts = re.split(r"^## ", text, flags=re.MULTILINE)
    ours = [part for part in parts if part.split("\n")[0] in SECTIONS]
    return [block for part in ours for block in re.findall(r"```python\n(.*?)```", part, re.DOTALL)]


class TestDocument:
    """docs/testing.md."""

    def test_its_examples_run(self, project) -> None:
        """Each as a test file of its own, with nothing added."""
        blocks = examples(DOCUMENT.read_text())
        assert len(blocks) == len(SECTIONS)
        for number, block in enumerate(blocks):
            project.write(block, name=f"test_{number}.py")
        out = project.run()
        assert "7 passed" in out, out

    def test_every_setting_is_told(self) -> None:
        """Each of the plugin's settings for servers stands in the table."""
        names: list[str] = []

        class Parser:
            def addini(self, name: str, *_: object, **__: object) -> None:
                names.append(name)

            def getgroup(self, *_: object) -> Parser:
                return self

            def addoption(self, *_: object, **__: object) -> None:
                pass

        pytest_addoption(Parser())
        text = DOCUMENT.read_text()
        assert [name for name in names if f"`{name}`" not in text] == []
        assert "cos_cache_dir" in names
        assert Kit.__doc__

    def test_a_new_user(self, project) -> None:
        """An application of somebody else's, with SQLAlchemy and Redis, sync: isolated, and tried under every fault."""
        project.write(APPLICATION, name="application.py")
        project.write(CONFTEST, name="conftest.py")
        project.write(TESTS)
        out = project.run(settings="cos_isolation = rollback\npythonpath = .")
        assert "12 passed" in out, out
