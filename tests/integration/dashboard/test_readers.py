"""What a person does about readers: sees a dead letter come, requeues it and sees it handled, pauses a projection."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import httpx
import pytest
from playwright.async_api import expect

from cos.memory.delivery import Event
from cos.memory.highway import Highway
from cos.runtime.consumers import Consumers


class Indexer:
    """A group whose handler fails until it is mended, and a projection beside it."""

    def __init__(self) -> None:
        self.mended = False
        self.handled: list[Any] = []
        self.highway = Highway()
        self.highway.subscriber(
            group="indexer",
            types=["chapter.*"],
            attempts=2,
            first_retry_seconds=0.01,
            last_retry_seconds=0.02,
        )(self.handle)
        self.highway.projection(name="titles", setup=["CREATE TABLE title (n int)"])(self.project)

    async def handle(self, event: Event) -> None:
        if not self.mended:
            raise ValueError(f"the chapter {event.envelope.subject} has no heading")
        self.handled.append(event.data)

    async def project(self, connection: asyncpg.Connection, events: list[Event]) -> None:
        await connection.executemany(
            "INSERT INTO title VALUES ($1)", [(len(str(one.data)),) for one in events]
        )


@pytest.fixture
async def indexer(core, pg) -> AsyncIterator[Indexer]:
    found = Indexer()
    consumers = Consumers(
        highways=[found.highway],
        database_url=core.database_url,
        redis_url=core.redis_url,
        sessions=core.sessions,
    )
    async with consumers:
        yield found
    await pg.execute("DROP SCHEMA IF EXISTS projection_titles CASCADE")


@pytest.fixture
async def recorded(api, indexer) -> str:
    async with httpx.AsyncClient(base_url=api.url, trust_env=False) as client:
        answer = await client.post(
            "/events",
            json={"type": "chapter.saved", "module": "editor", "subject": "ch01", "data": {"words": 7}},
        )
        return answer.json()["id"]


class TestDeadLetters:
    async def test_one_comes_is_requeued_and_handled(self, indexer, recorded, visit, eventually) -> None:
        """It appears by itself with its error; after the fault is mended one click has it delivered once more."""
        page = await visit("/ui/letters")
        row = page.locator("#part-letters tr.row")
        await expect(row).to_contain_text("has no heading")
        await expect(row).to_contain_text("2 tries")
        await expect(page.locator("#part-dead")).to_contain_text("1")
        indexer.mended = True
        await page.get_by_role("link", name="indexer").last.click()
        opened = page.locator("#opened")
        await expect(opened).to_contain_text('"words": 7')
        await expect(opened).to_contain_text("Traceback")
        await opened.get_by_role("button", name="Requeue").click()
        await expect(page.locator("#notice")).to_contain_text("delivered once more")

        async def handled() -> bool:
            return indexer.handled == [{"words": 7}]

        await eventually(handled)
        await expect(page.locator("#part-letters tr.row")).to_have_attribute("data-state", "delivered")
        await expect(page.locator("#part-dead")).to_be_empty()

    async def test_all_of_a_filter_are_dropped_after_a_question(self, recorded, visit) -> None:
        """Refused, nothing happens; agreed, they are gone, and the event of the decision stands in the log."""
        page = await visit("/ui/letters?group=indexer")
        await expect(page.locator("#part-letters tr.row")).to_have_count(1)
        asked: list[str] = []
        answers = [False, True]

        async def answer(dialog) -> None:
            asked.append(dialog.message)
            await (dialog.accept() if answers[len(asked) - 1] else dialog.dismiss())

        page.on("dialog", answer)
        drop = page.get_by_role("button", name="Drop these")
        await drop.click()
        await expect(page.locator("#part-letters tr.row")).to_have_count(1)
        await drop.click()
        await expect(page.locator("#part-letters")).to_contain_text("No dead letter matches")
        assert len(asked) == 2
        assert "stay in the log" in asked[0]
        await page.goto("/ui/events?type=dead_letters.*")
        await expect(page.get_by_role("link", name="dead_letters.dropped")).to_be_visible()

    async def test_an_event_says_who_got_it(self, recorded, visit, eventually) -> None:
        """Beside the event: the group that gave up on it after two tries, the projection that has it, its stream."""
        page = await visit(f"/ui/events/{recorded}")
        table = page.get_by_role("table", name="Who got this event")

        async def known() -> bool:
            await page.reload()
            text = await page.locator("article").inner_text()
            return "given up on" in text and "has taken effect" in text

        await eventually(known)
        await expect(table.get_by_role("row", name="indexer")).to_contain_text("2")
        await expect(page.locator("article")).to_contain_text("yes, in its stream")


class TestProjections:
    async def test_one_is_paused_resumed_and_rebuilt(self, indexer, recorded, visit) -> None:
        """Each act shows its effect in the same place, without a reload."""
        page = await visit("/ui/readers")
        row = page.locator("tr[data-projection=titles]")
        await expect(row).to_contain_text("running")
        await page.get_by_role("button", name="Pause: titles").click()
        await expect(row).to_contain_text("paused")
        await expect(page.locator("#notice")).to_contain_text("titles is paused")
        await page.get_by_role("button", name="Resume: titles").click()
        await expect(row).to_contain_text("running")
        page.on("dialog", lambda dialog: dialog.accept())
        await page.get_by_role("button", name="Rebuild: titles").click()
        await expect(page.locator("#notice")).to_contain_text("built anew")
        await expect(page.get_by_role("rowheader", name="indexer")).to_be_visible()
