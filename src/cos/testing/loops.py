"""The loop check: conflicts between event loops, and what is left in them, become errors with a name and two places.

Off by default. `--cos-loops=strict`, the ini setting `cos_loops` or the mark `loops` turn it on; each takes `strict`,
`off` or the names of single checks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from cos.errors import BadInput
from cos.testing.strictness import BLOCKING_MS, CHECKS, Strictness, milliseconds, strictness_of

if TYPE_CHECKING:
    from cos.testing.loop_check import LoopCheck

_CHECK = pytest.StashKey["LoopCheck"]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--cos-loops` and the settings of the loop check."""
    group = parser.getgroup("cos", "checks of cos.testing")
    told = f"strict, off, or some of {', '.join(CHECKS)}"
    group.addoption("--cos-loops", metavar="CHECKS", help=f"look for conflicts of event loops: {told}")
    parser.addini("cos_loops", f"Look for conflicts of event loops: {told}.", type="args", default=["off"])
    parser.addini(
        "cos_blocking_ms",
        "How many milliseconds one call may keep the event loop.",
        default=f"{BLOCKING_MS:g}",
    )
    parser.addini(
        "cos_loops_ignore", "Let be what has one of these lines in its name or place.", type="linelist"
    )


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    """Listen before a conftest imports the project, so that what it makes at import is known."""
    strictness = _of_run(early_config)
    if strictness.checks:
        _check_of(early_config).hooks.install()


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Know the mark, and refuse a setting that is none."""
    config.addinivalue_line(
        "markers",
        "loops(*checks, blocking_ms=..., ignore=[...]): look for conflicts of event loops in these tests "
        f"('strict', 'off', or some of {', '.join(CHECKS)}).",
    )
    strictness = _of_run(config)
    if strictness.checks:
        _take_part(config)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Take part also when only a mark asks for it."""
    if any(item.get_closest_marker("loops") for item in items):
        _take_part(config)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Take everything back."""
    check = config.stash.get(_CHECK, None)
    if check is not None:
        check.hooks.remove()
        check.watch.stop()


def _check_of(config: pytest.Config) -> LoopCheck:
    from cos.testing.loop_check import LoopCheck  # noqa: PLC0415  (asyncio is not everybody's)

    if _CHECK not in config.stash:
        config.stash[_CHECK] = LoopCheck(_of_run(config))
    return config.stash[_CHECK]


def _take_part(config: pytest.Config) -> None:
    check = _check_of(config)
    check.hooks.install()
    if not config.pluginmanager.has_plugin("cos-loop-check"):
        config.pluginmanager.register(check, "cos-loop-check")


def _of_run(config: pytest.Config) -> Strictness:
    """Read the option, else the settings."""
    option = getattr(config.known_args_namespace, "cos_loops", None)
    words = config.getini("cos_loops") if option is None else option.replace(",", " ").split()
    text = config.getini("cos_blocking_ms")
    try:
        return strictness_of(words, blocking_ms=milliseconds(text), ignore=config.getini("cos_loops_ignore"))
    except BadInput as error:
        raise pytest.UsageError(str(error)) from None
