"""The `commits` fixture: what each commit was, and why a hook did not run."""

from __future__ import annotations

import pytest
from sqlalchemy import Column, Integer, create_engine, event, text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Session, sessionmaker
from sqlalchemy.pool import StaticPool

from cos.common.after_commit import after_commit
from cos.testing.commit_errors import HookNotRun, HookTooEarly, NoSuchHook
from cos.testing.commit_log import Commits


class Base(DeclarativeBase):
    pass


class Note(Base):
    __tablename__ = "note"
    id = Column(Integer, primary_key=True)


@pytest.fixture
def engine():
    engine = create_engine("sqlite://", poolclass=StaticPool)
    Base.metadata.create_all(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def log():
    """A log of its own: the fixture itself would judge it by this test's end."""
    log = Commits()
    log.begin()
    yield log
    log.end()


def save(session):
    session.add(Note())
    session.commit()


class TestKinds:
    """What a commit really was."""

    def test_real_and_savepoint_and_empty(self, log, engine) -> None:
        """Each by its name, with the place that asked for it."""
        with Session(engine) as session:
            session.add(Note())
            with session.begin_nested():
                session.add(Note())
            session.commit()
            session.begin()
            session.commit()
        assert [one.kind for one in log] == ["savepoint", "real", "empty"]
        assert [len(log.savepoints), len(log.real)] == [1, 1]
        assert log.real[0].site.file == __file__
        assert log.real[0].site.function == "test_real_and_savepoint_and_empty"
        assert len(log[0].ran) == 0

    @pytest.mark.parametrize(
        ("mode", "kind"),
        [
            ("create_savepoint", "joined"),
            ("rollback_only", "joined"),
            ("conditional_savepoint", "joined"),
            ("control_fully", "real"),
        ],
    )
    def test_joined(self, log, engine, mode, kind) -> None:
        """A session in a transaction of the test's commits nothing, but in one of the modes."""
        with engine.connect() as connection:
            outer = connection.begin()
            with Session(connection, join_transaction_mode=mode) as session:
                save(session)
            if outer.is_active:
                outer.rollback()
        assert [(one.kind, one.mode) for one in log] == [(kind, mode if kind == "joined" else "")]

    def test_a_rollback_is_no_commit(self, log, engine) -> None:
        with Session(engine) as session:
            session.add(Note())
            session.flush()
            session.rollback()
        assert len(log) == 0
        assert log.told() == "commits: no session committed"

    async def test_async(self, log, servers) -> None:
        """An async session, and where it was asked to commit."""
        engine = create_async_engine(servers.postgres.url.replace("postgresql:", "postgresql+asyncpg:"))
        async with AsyncSession(engine) as session:
            await session.execute(text("SELECT 1"))
            await session.commit()
        await engine.dispose()
        mine = [
            one for one in log if one.site.function == "test_async"
        ]  # a COS may run beside it in this process
        assert [one.kind for one in mine] == ["real"]


class TestHooks:
    """What ran after a commit, and what did not."""

    def test_what_ran(self, log, engine) -> None:
        """Listeners, and the work of COS."""
        maker = sessionmaker(engine)
        event.listen(maker, "after_commit", listener)
        with maker() as session:
            session.add(Note())
            after_commit(session, work)
            session.commit()
        assert log.real[0].ran == [f"{__name__}.listener", f"{__name__}.work"]
        assert log.told().endswith(f"after it ran {__name__}.listener, {__name__}.work")

    def test_a_hook_that_runs(self, log, engine) -> None:
        """It is called as ever, with its arguments, however it is referred to."""
        kept = [published]
        hook = log.expect_hook(published)
        with Session(engine) as session:
            save(session)
        assert kept[0]("a", times=2) == "aa"
        assert [(args, kwargs) for args, kwargs, _ in hook.calls] == [(("a",), {"times": 2})]
        assert hook.calls[0][2] is log.real[0]
        log.judge()
        log.end()
        assert published("b", times=1) == "b"
        assert len(hook.calls) == 1

    def test_a_closure(self, log, engine) -> None:
        """A function with variables of its own is watched, too."""
        seen = []

        def hook(value):
            seen.append(value)

        log.expect_hook(hook)
        with Session(engine) as session:
            save(session)
        hook(1)
        assert seen == [1]
        log.judge()

    def test_no_commit(self, log) -> None:
        log.expect_hook(f"{__name__}:published")
        with pytest.raises(
            HookNotRun, match=r"published was expected .* did not: no session committed at all"
        ):
            log.judge()

    def test_a_joined_session(self, log, engine) -> None:
        """The old suite's fault: it is told what the commit was, where, and what to do."""
        log.expect_hook(published)
        with engine.connect() as connection, connection.begin(), Session(connection) as session:
            save(session)
        with pytest.raises(HookNotRun, match=r"no commit was real; the session only joined") as raised:
            log.judge()
        assert f"at {log.joined[0].site} (join_transaction_mode=conditional_savepoint)" in str(raised.value)
        assert "let this test commit really" in str(raised.value)

    def test_only_a_savepoint(self, log, engine) -> None:
        """A hook on `after_commit` fires for a savepoint: too early."""
        log.expect_hook(published)
        with Session(engine) as session:
            session.add(Note())
            with session.begin_nested():
                session.add(Note())
            published("early", times=1)
        with pytest.raises(HookTooEarly, match="ran when the session had only released a savepoint at"):
            log.judge()

    def test_nobody_called_it(self, log, engine) -> None:
        log.expect_hook(published)
        with Session(engine) as session:
            save(session)
        with pytest.raises(HookNotRun, match=r"really committed at .* in save, but nothing called it"):
            log.judge()

    @pytest.mark.parametrize("hook", ["nowhere", "nowhere:at", "json:nothing", len, "builtins:len"])
    def test_no_such_hook(self, log, hook) -> None:
        with pytest.raises(NoSuchHook, match="The hook"):
            log.expect_hook(hook)


class TestFixture:
    """In a run of pytest."""

    def test_the_reason_is_the_failure(self, pytester, monkeypatch) -> None:
        """A test that expects a hook fails in its call; one that fails by itself is told the commits."""
        monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
        pytester.makepyfile(
            """
            def publish(): pass
            def test_expects(commits): commits.expect_hook(publish)
            def test_fails(commits): assert [] == ["published"]
            def test_fine(commits): assert not commits.real
            """
        )
        result = pytester.runpytest_subprocess("-p", "cos.testing.plugin", timeout=60)
        result.assert_outcomes(failed=2, passed=1)
        text = result.stdout.str()
        assert "HookNotRun: test_the_reason_is_the_failure.publish was expected to run after a commit" in text
        assert "commit_log.py" not in text
        assert "commits: no session committed" in text


def listener(session) -> None:
    """Run after a commit."""


def work() -> None:
    """Run after a commit, too."""


def published(name, *, times):
    return name * times
