"""Dependency overrides: put back, and a leak is named."""

from __future__ import annotations

import pytest

APP = """
    from fastapi import Depends, FastAPI
    def get_db(): return "real"
    def get_user(): return "real"
    app = FastAPI(title="Shop")
    @app.get("/")
    def root(db=Depends(get_db)): return db
"""
TESTS = """
    import pytest
    from app import app, get_db, get_user
    from fastapi import FastAPI
    def fake(): return "fake"
    @pytest.fixture
    def careful():
        app.dependency_overrides[get_db] = fake
        yield
        app.dependency_overrides.clear()
    @pytest.fixture(scope="class")
    def wide():
        app.dependency_overrides[get_user] = fake
        yield
        app.dependency_overrides.pop(get_user)
    def test_leaves(): app.dependency_overrides[get_db] = lambda: "leaked"
    def test_is_clean(): assert app.dependency_overrides == {}
    def test_fixture(careful): assert app.dependency_overrides == {get_db: fake}
    class TestWide:
        def test_one(self, wide): assert app.dependency_overrides == {get_user: fake}
        def test_two(self, wide): app.dependency_overrides.clear()
        def test_three(self, wide): assert app.dependency_overrides == {get_user: fake}
    def test_after_wide(): assert app.dependency_overrides == {}
    def test_with_overrides(overrides):
        overrides(app, {get_db: fake})[get_user] = fake
        app.dependency_overrides = {get_db: fake}
    def test_new_app():
        FastAPI().dependency_overrides[get_db] = fake
    def test_last(): assert app.dependency_overrides == {}
    def test_no_app(overrides):
        with pytest.raises(Exception, match="give a FastAPI app"):
            overrides("app", {})
"""


@pytest.fixture
def run(pytester, monkeypatch):
    """Run the project."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    pytester.makepyfile(test_it=TESTS, app=APP)
    return lambda *args: pytester.runpytest_subprocess("-p", "cos.testing.plugin", *args, timeout=60)


class TestOverrides:
    """The check and the fixture."""

    def test_a_leak_is_named_and_put_back(self, run) -> None:
        """The test that leaves one fails at its end; a wider fixture's override stays with the fixture."""
        result = run("--cos-overrides=strict")
        text = result.stdout.str()
        assert "OverrideLeft: test_it.py::test_leaves left app.get_db (line 2) overridden by" in text
        assert "test_it.test_leaves.<locals>.<lambda> (line 15) in the app 'Shop'" in text
        assert "TestWide::test_two left the app 'Shop' without the override of app.get_user" in text
        result.assert_outcomes(passed=11, errors=2)

    def test_without_the_check_only_the_fixture_acts(self, run) -> None:
        """Off until used."""
        result = run("-k", "with_overrides or last or no_app")
        result.assert_outcomes(passed=3, deselected=8)

    def test_no_such_way(self, run) -> None:
        result = run("--cos-overrides=on")
        assert "cos_overrides is 'on': give strict or off." in result.stderr.str()
        assert result.ret == pytest.ExitCode.USAGE_ERROR
