"""A project whose tests are run in a process of its own, with the loop check."""

from __future__ import annotations

import pytest

ASYNCIO = """
[pytest]
asyncio_mode = auto
asyncio_default_test_loop_scope = {scope}
asyncio_default_fixture_loop_scope = {scope}
cos_loops = strict
"""


@pytest.fixture
def run(pytester, monkeypatch):
    """Run a project's tests in a process of its own, with its modules and its loop scope."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")

    def run(tests, *args, scope="function", ini=None, runner="pytest_asyncio.plugin", **modules):
        pytester.makeini(ASYNCIO.format(scope=scope) if ini is None else ini)
        pytester.makepyfile(**{"test_it": tests, **modules})
        return pytester.runpytest_subprocess("-p", runner, "-p", "cos.testing.plugin", *args, timeout=60)

    return run
