"""What a person does: opens an event, moves by keys, turns the colours, registers a module, reads without a script."""

from __future__ import annotations

import re

import httpx
import pytest
from playwright.async_api import expect

PAGES = (
    "/",
    "/ui/events",
    "/ui/readers",
    "/ui/letters",
    "/ui/webhooks",
    "/ui/modules",
    "/ui/notes",
    "/ui/access",
    "/ui/system",
)
SCREENS = ((1440, 900), (1024, 768), (390, 844), (360, 780))


@pytest.fixture
async def work(api):
    """Some work that was recorded: two chapters and a prompt."""
    events = [
        {"type": "chapter.saved", "module": "editor", "subject": "ch01", "data": {"words": 2031}},
        {
            "type": "chapter.saved",
            "module": "editor",
            "subject": "ch02",
            "level": "warning",
            "data": {"words": 7},
        },
        {
            "type": "prompt.answered",
            "module": "agent",
            "subject": "ch02",
            "data": {"ratio": 1.50, "title": "<b>not bold</b>", "deep": {"list": [1, None, True]}},
            "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "prompt": {
                "prompt": "Shorten it.",
                "response": "It is shorter.",
                "model": "m-1",
                "latency_ms": 4180,
            },
        },
    ]
    async with httpx.AsyncClient(base_url=api.url, trust_env=False) as client:
        return [(await client.post("/events", json=event)).json()["id"] for event in events]


class TestOneEvent:
    async def test_it_opens_beside_the_list(self, work, visit) -> None:
        """A click shows its data set in lines, its prompt and its trace, and leaves the list where it is."""
        page = await visit("/ui/events")
        await page.get_by_role("link", name="prompt.answered").click()
        opened = page.locator("#opened")
        await expect(opened.get_by_role("heading", level=1)).to_be_focused()
        await expect(opened).to_contain_text('"title": "<b>not bold</b>"')
        await expect(opened).to_contain_text('"ratio": 1.5')
        await expect(opened).to_contain_text("Shorten it.")
        await expect(opened).to_contain_text("It is shorter.")
        await expect(opened).to_contain_text("4.18 s")
        await expect(opened).to_contain_text("4bf92f3577b34da6a3ce929d0e0e4736")
        await expect(page.locator("#part-stream tr.row")).to_have_count(3)
        await page.keyboard.press("Escape")
        await expect(opened).to_be_empty()

    async def test_it_has_a_page_of_its_own(self, work, visit) -> None:
        """Its address shows it whole, with a link to the same as JSON."""
        page = await visit(f"/ui/events/{work[2]}")
        await expect(page.get_by_role("heading", level=1)).to_have_text("prompt.answered")
        await page.get_by_role("link", name="This event as JSON").click()
        assert work[2] in await page.locator("body").inner_text()


class TestKeys:
    async def test_rows_are_walked_and_opened(self, work, visit) -> None:
        """Keys j and k move, Enter opens, j then opens the next one, Esc gives the focus back to its row."""
        page = await visit("/ui/events")
        await page.keyboard.press("j")
        await expect(page.locator("tr.at")).to_contain_text("prompt.answered")
        await page.keyboard.press("Enter")
        await expect(page.locator("#event-title")).to_have_text("prompt.answered")
        await page.keyboard.press("j")
        await expect(page.locator("#event-title")).to_have_text("chapter.saved")
        await page.keyboard.press("Escape")
        await expect(page.locator("tr.at a")).to_be_focused()
        await page.keyboard.press("k")
        await expect(page.locator("tr.at")).to_contain_text("prompt.answered")

    async def test_views_and_the_list_of_keys(self, work, visit) -> None:
        """Keys g and a letter lead to a view, / to its filter, ? lists it all; what is typed into a field is text."""
        page = await visit("/")
        await page.keyboard.press("g")
        await page.keyboard.press("e")
        await page.wait_for_url("**/ui/events")
        await page.keyboard.press("/")
        await expect(page.get_by_role("combobox", name="Module")).to_be_focused()
        await page.get_by_label("Subject").press_sequentially("pt?")
        await expect(page.get_by_label("Subject")).to_have_value("pt?")
        await expect(page.locator("dialog[open]")).to_have_count(0)
        await page.get_by_label("Subject").blur()
        await page.keyboard.press("?")
        await expect(page.get_by_role("dialog", name="Keys")).to_be_visible()

    async def test_they_can_be_turned_off(self, work, visit) -> None:
        """Single keys disturb who speaks to the machine: one tick ends them, for good."""
        page = await visit("/ui/events")
        await page.keyboard.press("?")
        await page.get_by_label("Single keys act").uncheck()
        await page.get_by_role("button", name="Close").click()
        await page.reload()
        await page.keyboard.press("j")
        await expect(page.locator("tr.at")).to_have_count(0)

    async def test_the_first_tab_skips_to_the_content(self, visit) -> None:
        page = await visit("/")
        await page.keyboard.press("Tab")
        await expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
        await page.keyboard.press("Enter")
        await expect(page.locator("main")).to_be_focused()


class TestColours:
    async def test_the_choice_is_kept_and_served(self, visit) -> None:
        """The system decides first; a choice stays, and the server sends the page in it at once."""
        page = await visit("/", colours="dark")
        ground = "getComputedStyle(document.body).backgroundColor"
        dark = await page.evaluate(ground)
        await page.keyboard.press("t")
        light = await page.evaluate(ground)
        assert dark != light
        await page.goto("/ui/events")
        assert await page.evaluate(ground) == light
        answer = await page.request.get("/")
        assert 'data-theme="light"' in await answer.text()


class TestModules:
    async def test_a_module_is_registered_turned_off_and_removed(self, visit) -> None:
        """Each act shows its effect at once, and is an event."""
        page = await visit("/ui/modules")
        await page.get_by_label("Name").fill("editor")
        await page.get_by_label("Version").fill("1.4.0")
        await page.get_by_role("button", name="Register").click()
        await expect(page.locator("#notice")).to_have_text("editor is registered.")
        await page.get_by_role("button", name="Turn off: editor").click()
        await expect(page.locator("#part-modules tbody tr")).to_contain_text("off")
        await expect(page.locator("#notice")).to_have_text("editor is off.")  # the act itself has ended, too
        await page.get_by_label("Name").fill("editor")  # the same name again
        await page.get_by_label("Version").fill("1.4.1")
        await page.get_by_role("button", name="Register").click()
        await expect(page.locator("#notice")).to_contain_text("exists already")
        page.on("dialog", lambda dialog: dialog.accept())
        await page.get_by_role("button", name="Remove: editor").click()
        await expect(page.locator("#part-modules")).to_contain_text("No module is registered")
        await page.goto("/ui/events")
        for kind in ("module.created", "module.changed", "module.deleted"):
            await expect(page.get_by_role("link", name=kind)).to_be_visible()


class TestEverybody:
    async def test_axe_finds_nothing(self, work, visit, faults_of) -> None:
        """On every view, with an event open, with the list of keys, and on a phone."""
        page = await visit("/")
        found = {}
        for path in (*PAGES, f"/ui/events/{work[2]}", "/ui/nothing", "/docs"):
            await page.goto(path)
            found[path] = await faults_of(page)
        await page.goto("/ui/events")
        await page.get_by_role("link", name="prompt.answered").click()
        await expect(page.locator("#event-title")).to_be_visible()
        found["opened"] = await faults_of(page)
        await page.keyboard.press("Escape")
        await page.set_viewport_size({"width": 390, "height": 844})
        found["phone"] = await faults_of(page)
        await page.keyboard.press("?")
        found["keys"] = await faults_of(page)
        assert {place: faults for place, faults in found.items() if faults} == {}

    async def test_the_dark_can_be_read_too(self, work, visit, faults_of) -> None:
        """Every text stands out from its ground in the dark colours as well."""
        page = await visit("/", colours="dark")
        found = {}
        for path in (*PAGES, f"/ui/events/{work[2]}"):
            await page.goto(path)
            found[path] = await faults_of(page, rule="color-contrast")
        assert {place: faults for place, faults in found.items() if faults} == {}

    async def test_nothing_is_wider_than_the_screen(self, work, visit) -> None:
        """No view scrolls sideways, from a wide screen to a small phone."""
        page = await visit("/")
        wider = {}
        for path in (*PAGES, f"/ui/events/{work[2]}"):
            await page.goto(path)
            for width, height in SCREENS:
                await page.set_viewport_size({"width": width, "height": height})
                more = await page.evaluate("document.documentElement.scrollWidth - innerWidth")
                if more > 0:
                    wider[path, width] = more
        assert wider == {}

    async def test_it_can_be_read_without_a_script(self, work, visit) -> None:
        """Every view, its links, the filter and the pages of the list work as plain HTML."""
        page = await visit("/", java_script_enabled=False)
        for path in PAGES:
            await page.goto(path)
            await expect(page.get_by_role("heading", level=1)).to_be_visible()
        await page.goto("/ui/events")
        await page.get_by_label("Subject").fill("ch01")
        await page.get_by_role("button", name="Filter").click()
        await expect(page.locator("tr.row")).to_have_count(1)
        await page.get_by_role("link", name="chapter.saved").click()
        await expect(page.get_by_role("heading", level=1)).to_have_text("chapter.saved")
        await expect(page.get_by_role("button", name=re.compile("Pause"))).to_have_count(0)
