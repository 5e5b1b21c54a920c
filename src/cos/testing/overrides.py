"""FastAPI's dependency overrides: put back after each test, and a test that leaves one behind is named.

The fixture `overrides` puts back whatever the test overrides. The check (`--cos-overrides strict`, or the ini setting
`cos_overrides`) watches every app without being asked for: a test that leaves an override fails, and the next one
starts clean. An override that a wider fixture made stays as long as the fixture.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Generator, Iterator, Mapping
from typing import Any
from weakref import WeakKeyDictionary, WeakSet

import pytest

from cos.errors import BadInput, CosError

_WORDS = ("off", "strict")


class OverrideLeft(CosError):
    """A test left a dependency override behind."""

    slug = "override-left"


Override = Callable[..., Any]
Overridden = dict[Override, Override]


class Overrides:
    """Sets overrides for the time of one test; also those that the test sets at the app itself are put back."""

    def __init__(self) -> None:
        self._before: dict[int, tuple[Any, Overridden]] = {}
        for app in known_apps():
            self._keep(app)

    def _keep(self, app: Any) -> None:
        self._before.setdefault(id(app), (app, dict(app.dependency_overrides)))

    def __call__(self, app: Any, replacing: Mapping[Override, Override] | None = None) -> Overridden:
        """Override dependencies of an app until the test ends.

        Args:
            app: a FastAPI app.
            replacing: what to call instead of what.

        Returns:
            The app's overrides, to add to.

        Raises:
            BadInput: this is no FastAPI app.
        """
        overridden = getattr(app, "dependency_overrides", None)
        if not isinstance(overridden, dict):
            raise BadInput(f"{app!r} has no dependency overrides: give a FastAPI app.")
        self._keep(app)
        overridden.update(replacing or {})
        return overridden

    def put_back(self) -> None:
        """Make all apps as they were."""
        for app, before in self._before.values():
            put_back(app, before)


def put_back(app: Any, before: Overridden) -> None:
    """Make an app's overrides what they were, in the same dictionary if it still has that."""
    app.dependency_overrides.clear()
    app.dependency_overrides.update(before)


@pytest.fixture
def overrides() -> Iterator[Overrides]:
    """Override FastAPI dependencies in this test alone: `overrides(app, {get_db: fake})`."""
    found = Overrides()
    try:
        yield found
    finally:
        found.put_back()


def known_apps() -> list[Any]:
    """Find every FastAPI app that lives; nothing is imported for it."""
    fastapi = sys.modules.get("fastapi")
    kind = getattr(fastapi, "FastAPI", None)
    if kind is None:
        return []
    return [one for one in gc.get_objects() if isinstance(type(one), type) and issubclass(type(one), kind)]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--cos-overrides` and its setting."""
    told = "fail a test that leaves a FastAPI dependency override behind: strict or off"
    parser.getgroup("cos").addoption("--cos-overrides", metavar="HOW", help=told)
    parser.addini("cos_overrides", f"{told.capitalize()}.", default="off")


def pytest_configure(config: pytest.Config) -> None:
    """Watch where it is asked for."""
    how = config.getoption("cos_overrides") or config.getini("cos_overrides")
    if how not in _WORDS:
        raise pytest.UsageError(f"cos_overrides is {how!r}: give strict or off.")
    if how == "strict":
        config.pluginmanager.register(OverrideCheck(), "cos-override-check")


class OverrideCheck:
    """Compares the overrides of every app before and after each test."""

    def __init__(self) -> None:
        self._apps: WeakSet[Any] = WeakSet()
        self._kind: Any = None
        self._original: Any = None
        self._before: WeakKeyDictionary[Any, Overridden] = WeakKeyDictionary()
        self._fixtures: dict[str, list[tuple[Any, Override]]] = {}

    def _watch(self) -> None:
        """Learn of apps that live already, once, and of each that is made from now on."""
        kind = getattr(sys.modules.get("fastapi"), "FastAPI", None)
        if self._kind is not None or kind is None:
            return
        self._kind = kind
        self._apps.update(known_apps())
        original, apps = kind.__init__, self._apps

        def init(app: Any, *args: Any, **kwargs: Any) -> None:
            original(app, *args, **kwargs)
            apps.add(app)

        kind.__init__ = init

        self._original = original

    def pytest_unconfigure(self) -> None:
        """Leave FastAPI as it was."""
        if self._kind is not None:
            self._kind.__init__ = self._original

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_setup(self) -> Generator[None, Any, Any]:
        """Note what is overridden before the test."""
        self._watch()
        self._before = WeakKeyDictionary({app: dict(app.dependency_overrides) for app in self._apps})
        return (yield)

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: pytest.FixtureDef[Any]) -> Generator[None, Any, Any]:
        """What a wider fixture overrides is the fixture's until its end."""
        if fixturedef.scope == "function":
            return (yield)
        self._watch()
        before = {app: dict(app.dependency_overrides) for app in self._apps}
        try:
            return (yield)
        finally:
            self._watch()
            for app in self._apps:
                earlier = before.get(app, {})
                self._before.setdefault(app, dict(earlier))
                for key, value in app.dependency_overrides.items():
                    if earlier.get(key) is not value:
                        self._before[app][key] = value
                        self._fixtures.setdefault(fixturedef.argname, []).append((app, key))

    def pytest_fixture_post_finalizer(self, fixturedef: pytest.FixtureDef[Any]) -> None:
        """What a fixture overrode is nobody's after it."""
        for app, key in self._fixtures.pop(fixturedef.argname, ()):
            self._before.get(app, {}).pop(key, None)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> Generator[None, Any, Any]:
        """Put back, and name what was left.

        Raises:
            OverrideLeft: the test changed overrides and did not put them back.
        """
        __tracebackhide__ = True
        try:
            result = yield
        finally:
            left = [sentence for app in list(self._apps) for sentence in self._left_in(app)]
        if left:
            raise OverrideLeft(
                f"{item.nodeid} left {'; '.join(left)}. It was put back: ask for the fixture `overrides`, or remove it "
                "in the test."
            )
        return result

    def _left_in(self, app: Any) -> Iterator[str]:
        before, now = self._before.get(app), dict(app.dependency_overrides)
        if before is None or before == now:  # an app that the test made is its own
            return
        put_back(app, before)
        title = f"the app {getattr(app, 'title', '?')!r}"
        for key, value in now.items():
            if before.get(key) is not value:
                yield f"{_name(key)} overridden by {_name(value)} in {title}"
        for key in before.keys() - now.keys():
            yield f"{title} without the override of {_name(key)} that it had"


def _name(function: Any) -> str:
    code = getattr(function, "__code__", None)
    name = f"{getattr(function, '__module__', '')}.{getattr(function, '__qualname__', repr(function))}"
    return f"{name} (line {code.co_firstlineno})" if code is not None else name
