"""The dashboard in a real Chromium, over a whole COS on a real socket; where there is no Chromium, it says so."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, BrowserContext, ConsoleMessage, Page, async_playwright

from cos.backend.app import create_app, with_edge
from cos.runtime.core import Core
from cos.runtime.server import ApiServer, bind

HERE = Path(__file__).parent
AXE = HERE.parents[1] / "data" / "axe.min.js"
#: Nothing of the browser reaches out of this machine.
ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
)
#: What axe calls a fault that keeps somebody out.
SEVERE = {"moderate", "serious", "critical"}
#: The browser's own words about an answer that a test asked for, or a connection that a test cut.
EXPECTED = ("Failed to load resource", "net::ERR_", "Response Status Error Code")

_not_run = pytest.StashKey[int]()


def chromium() -> str | None:
    return shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Take the browser's tests out of the run where there is no browser; the summary says so."""
    if chromium() is not None:
        return
    ours = [item for item in items if item.path.is_relative_to(HERE)]
    if ours:
        config.stash[_not_run] = len(ours)
        items[:] = [item for item in items if item not in ours]
        config.hook.pytest_deselected(items=ours)


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    count = config.stash.get(_not_run, 0)
    if count:
        terminalreporter.write_line(
            f"NOT RUN: {count} tests of the dashboard, because no Chromium is installed (apt-get install chromium).",
            red=True,
            bold=True,
        )


@pytest.fixture(scope="session")
async def browser() -> AsyncIterator[Browser]:
    """One Chromium for all tests; each has a profile of its own."""
    async with async_playwright() as playwright:
        running = await playwright.chromium.launch(executable_path=chromium(), args=list(ARGUMENTS))
        yield running
        await running.close()


@pytest.fixture
async def api(core: Core) -> AsyncIterator[ApiServer]:
    """A whole COS that is served on a port of its own."""
    server = ApiServer(app=with_edge(create_app(core.services())), listener=bind(0), stop_timeout_seconds=2)
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def visit(browser: Browser, api: ApiServer) -> AsyncIterator[Callable[..., Awaitable[Page]]]:
    """Open a page of the dashboard as a person of some taste and screen; anything it complains about fails the test."""
    complaints: list[str] = []
    opened: list[BrowserContext] = []

    def complain(message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"} and not any(words in message.text for words in EXPECTED):
            complaints.append(message.text)

    async def go(
        path: str = "/", *, width: int = 1280, height: int = 800, colours: Any = "light", **more: Any
    ) -> Page:
        context = await browser.new_context(
            viewport={"width": width, "height": height}, color_scheme=colours, base_url=api.url, **more
        )
        context.set_default_timeout(10_000)
        opened.append(context)
        page = await context.new_page()
        page.on("console", complain)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        await page.goto(path)
        return page

    yield go
    for context in opened:
        await context.close()
    assert complaints == []


@pytest.fixture
def faults_of() -> Callable[..., Awaitable[list[str]]]:
    """Let axe look at a page as it is now, by all its rules or one; gives what would keep somebody out, and where."""

    async def look(page: Page, *, rule: str | None = None) -> list[str]:
        # Through the debugger, which the page's own policy for scripts does not concern.
        await page.evaluate(AXE.read_text() + "\n;0")
        options = {"resultTypes": ["violations"]} | ({"runOnly": [rule]} if rule else {})
        found = await page.evaluate("options => axe.run(document, options)", options)
        return [
            f"{one['impact']}: {one['id']}: {node['html'][:200]}"
            for one in found["violations"]
            if one["impact"] in SEVERE
            for node in one["nodes"]
        ]

    return look
