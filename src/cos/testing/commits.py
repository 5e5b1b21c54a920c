"""The `commits` fixture: what each commit of a session really was, what ran after it, and what should have.

A session's commit may write to disk, release a savepoint, or do nothing because the session joined a transaction that
the test holds; SQLAlchemy's `after_commit` fires for each of them. A hook that a test expects to see called, and that
never is, therefore fails here with the reason.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from cos.testing.commit_log import Commits

_LOG = pytest.StashKey["Commits"]()


@pytest.fixture
def commits(request: pytest.FixtureRequest) -> Iterator[Commits]:
    """Record the commits of every SQLAlchemy session, sync and async, in this test."""
    from cos.testing.commit_log import Commits  # noqa: PLC0415  (SQLAlchemy is not everybody's)

    log = Commits()
    request.node.stash[_LOG] = log
    log.begin()
    try:
        yield log
    finally:
        log.end()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
    """Fail a test whose expected hooks did not run; tell a test that failed what was committed."""
    __tracebackhide__ = True
    log = item.stash.get(_LOG, None)
    if log is None:
        return (yield)
    try:
        result = yield
    except Exception as error:
        error.add_note(log.told())
        raise
    log.judge()
    return result
