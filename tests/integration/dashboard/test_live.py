"""What a person watches: events that arrive, parts that break and come back, COS itself going and returning."""

from __future__ import annotations

import re

import httpx
from playwright.async_api import expect

from cos.backend.app import create_app, with_edge
from cos.runtime.server import ApiServer, bind

LIVE = "#link[data-link=live]"


async def record(api: ApiServer, *, type: str = "chapter.saved", **event) -> str:  # noqa: A002
    async with httpx.AsyncClient(trust_env=False) as client:
        answer = await client.post(f"{api.url}/events", json={"type": type, **event})
        assert answer.status_code == 201, answer.text
        return answer.json()["id"]


class TestArriving:
    async def test_an_event_appears_by_itself(self, api, visit) -> None:
        """The empty page teaches; the first event takes its place in the list without a reload."""
        page = await visit("/")
        await expect(page.get_by_role("heading", name="Record the first event")).to_be_visible()
        await expect(page.locator(LIVE)).to_be_visible()
        await record(api, module="editor", subject="ch01", data={"words": 2031})
        row = page.locator("#part-latest tr.row")
        await expect(row).to_have_count(1)
        await expect(row).to_contain_text("chapter.saved")
        await expect(row).to_contain_text("2031")

    async def test_the_stream_is_told_to_who_cannot_see_it(self, api, visit) -> None:
        """A polite region says how many events came."""
        await record(api)
        page = await visit("/ui/events")
        await expect(page.locator(LIVE)).to_be_visible()
        await record(api)
        await expect(page.locator("#part-stream tr.row")).to_have_count(2)
        await expect(page.locator("#said")).to_have_text("One new event")

    async def test_a_pause_holds_back_and_loses_nothing(self, api, visit) -> None:
        """Paused, the list stands still and says that there is more; going on shows it."""
        await record(api, data="first")
        page = await visit("/ui/events")
        await expect(page.locator(LIVE)).to_be_visible()
        await page.keyboard.press("p")
        await expect(page.get_by_role("button", name="Go on")).to_have_attribute("aria-pressed", "true")
        for n in range(3):
            await record(api, data=n)
        fresh = page.get_by_role("button", name="Show what is new")
        await expect(fresh).to_be_visible()
        await expect(page.locator("#part-stream tr.row")).to_have_count(1)
        await fresh.click()
        await expect(page.locator("#part-stream tr.row")).to_have_count(4)
        await expect(fresh).to_be_hidden()

    async def test_a_filtered_list_takes_what_matches_alone(self, api, visit) -> None:
        """What is typed filters at once, stands in the address, and goes for what arrives later too."""
        await record(api, type="chapter.saved", module="editor", subject="ch01")
        await record(api, type="prompt.answered", module="agent", subject="ch02")
        page = await visit("/ui/events")
        await expect(page.locator("tr.row")).to_have_count(2)
        await page.get_by_label("Type").fill("chapter.*")
        await expect(page.locator("tr.row")).to_have_count(1)
        await expect(page).to_have_url(re.compile("type=chapter"))
        await expect(page.locator(LIVE)).to_be_visible()
        await record(api, type="prompt.answered", module="agent")
        await record(api, type="chapter.split", module="editor", subject="ch03")
        await expect(page.locator("tr.row")).to_have_count(2)
        await expect(page.locator("tr.row").first).to_contain_text("chapter.split")
        await expect(page.locator("#part-stream")).not_to_contain_text("prompt.answered")


class TestBreaking:
    async def test_redis_goes_and_comes_back_before_the_viewers_eyes(self, servers, api, visit) -> None:
        """The page says that COS is degraded and why, keeps showing what is recorded, and says when all is well."""
        page = await visit("/")
        await expect(page.locator("#part-state")).to_have_attribute("data-state", "ok")
        await page.evaluate("window.sameDocument = true")
        await servers.redis.stop()
        try:
            await expect(page.locator("#part-state")).to_have_attribute("data-state", "degraded")
            await expect(page.locator("#part-lede")).to_contain_text("Redis")
            row = page.locator("#part-health tr[data-part=redis]")
            await expect(row).to_have_attribute("data-state", "down")
            await expect(row).to_contain_text("catch up by themselves")
            await expect(page.locator("#said")).to_contain_text("degraded")
            assert (await page.title()).startswith("◐")
            await record(api, type="chapter.saved", data="while away")
            await expect(page.locator("#part-latest tr.row")).to_contain_text("while away")
        finally:
            await servers.redis.start()
        await expect(page.locator("#part-state")).to_have_attribute("data-state", "ok")
        await expect(page.get_by_role("heading", level=1)).to_have_text("Everything works.")
        assert await page.evaluate("window.sameDocument") is True

    async def test_cos_stops_and_the_page_says_so_until_it_is_back(self, core, api, visit) -> None:
        """Without COS the page keeps what it shows, says from when it is, and goes on when COS answers again."""
        page = await visit("/")
        await expect(page.locator(LIVE)).to_be_visible()
        port = int(api.url.rpartition(":")[2])
        await api.stop()
        link = page.locator("#link")
        await expect(link).to_have_attribute("data-link", "lost")
        await expect(link).to_contain_text("trying again")
        await expect(page.get_by_role("heading", level=1)).to_have_text("Everything works.")
        again = ApiServer(
            app=with_edge(create_app(core.services())), listener=bind(port), stop_timeout_seconds=2
        )
        await again.start()
        try:
            await expect(page.locator(LIVE)).to_be_visible()
            await page.close()
        finally:
            await again.stop()
