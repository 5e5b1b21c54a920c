"""Webhooks and tokens on the page: made, tried, changed and ended by a person; secrets are shown once."""

from __future__ import annotations

import asyncio
import dataclasses
import re
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import httpx
import pytest
from playwright.async_api import Page, expect

from cos.backend.access import service
from cos.backend.access.schemas import TokenIn
from cos.backend.app import create_app, with_edge
from cos.config import load_settings
from cos.runtime.core import Core
from cos.runtime.server import ApiServer, bind


@pytest.fixture
async def core(servers: Any, settings: Any, clean: None) -> AsyncIterator[Core]:
    """A COS that may post to this machine."""
    chosen = settings.model_copy(update={"webhook_allow": "127.0.0.0/8"})
    async with Core(
        settings=chosen, database_url=servers.postgres.url, redis_url=servers.redis.url
    ) as running:
        yield running


@pytest.fixture
async def receiver() -> AsyncIterator[str]:
    """Take what is posted; gives the URL."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                await reader.readexactly(int(head.partition(b"content-length: ")[2].split(b"\r\n")[0]))
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hook"
    server.close()


async def secret_on(page: Page) -> str:
    await expect(page.locator("#secret")).to_be_visible()
    return (await page.locator("#secret").text_content()) or ""


class TestWebhooks:
    async def make(self, page: Page, url: str) -> str:
        await page.locator(".form-section").get_by_role("textbox", name="URL").fill(url)
        await page.locator(".form-section").get_by_label("Types").fill("chapter.*, note.created")
        await page.get_by_role("button", name="Post events there").click()
        return await secret_on(page)

    async def test_made_tried_paused_changed_and_deleted(self, receiver, visit, faults_of) -> None:
        page = await visit("/ui/webhooks")
        await expect(page.locator("#part-webhooks")).to_contain_text("No URL gets events yet")
        secret = await self.make(page, receiver)
        assert secret.startswith("whsec_")
        await expect(page.locator(".form-section").get_by_role("textbox", name="URL")).to_have_value(
            ""
        )  # the form is free for the next
        await page.get_by_role("link", name=receiver).click()
        opened = page.locator("#opened")
        await expect(opened.get_by_label("Types")).to_have_value("chapter.*, note.created")
        assert await faults_of(page) == []
        await page.get_by_role("button", name=f"Test: {receiver}").click()
        await expect(page.locator("#notice")).to_contain_text("answered the test with 200")
        await expect(opened.locator(".tries tbody tr")).to_contain_text("webhook.test")
        await page.get_by_role("button", name=f"Pause: {receiver}").click()
        await expect(page.locator("#part-webhooks tr.row")).to_contain_text("paused")
        await page.get_by_role("button", name=f"Resume: {receiver}").click()
        await expect(page.locator("#part-webhooks tr.row")).to_contain_text("active")
        await opened.get_by_label("Types").fill("")
        await opened.get_by_role("button", name="Change").click()
        await expect(page.locator("#notice")).to_contain_text("is changed")
        await expect(opened.get_by_label("Types")).to_have_value("")
        page.on("dialog", lambda dialog: dialog.accept())
        await page.get_by_role("button", name=f"New secret: {receiver}").click()
        await expect(page.locator("#notice")).to_contain_text("The old secret signs too for a while")
        new = await secret_on(page)
        assert new.startswith("whsec_")
        assert new != secret
        await page.reload()
        assert not {secret, new} & set(re.findall(r"whsec_[^<\s]+", await page.content()))
        await page.get_by_role("link", name=receiver).click()
        await page.get_by_role("button", name=f"Delete: {receiver}").click()
        await expect(page.locator("#part-webhooks")).to_contain_text("No URL gets events yet")
        await expect(opened).to_be_empty()

    async def test_its_own_page_needs_no_script(self, receiver, visit) -> None:
        """Without one, the secret stands on the page that answers the form."""
        page = await visit("/ui/webhooks", java_script_enabled=False)
        secret = await self.make(page, receiver)
        await page.get_by_role("link", name=receiver).click()
        await expect(page.get_by_role("heading", level=1)).to_have_text(receiver)
        await page.get_by_role("button", name=f"New secret: {receiver}").click()
        assert await secret_on(page) != secret

    async def test_what_may_not_be_posted_to_is_refused_in_a_sentence(self, visit) -> None:
        page = await visit("/ui/webhooks")
        await page.locator(".form-section").get_by_role("textbox", name="URL").fill("http://10.0.0.1/hook")
        await page.get_by_role("button", name="Post events there").click()
        await expect(page.locator("#notice")).to_contain_text("10.0.0.1")
        await expect(page.locator(".form-section").get_by_role("textbox", name="URL")).to_have_value(
            "http://10.0.0.1/hook"
        )  # to be mended


class TestTokens:
    async def test_made_used_and_revoked(self, api, visit) -> None:
        page = await visit("/ui/access")
        await expect(page.locator("#part-access")).to_contain_text("asks nobody here for a token")
        await page.get_by_label("Name").fill("the boss")
        await page.get_by_label("May").select_option("admin")
        await page.get_by_label("Days to live").fill("90")
        await page.get_by_role("button", name="Make").click()
        token = await secret_on(page)
        await page.get_by_role("button", name="Copy").click()
        await expect(page.locator("#said")).to_have_text(re.compile("copied"))
        bearer = {"Authorization": f"Bearer {token}"}
        async with httpx.AsyncClient(base_url=api.url, trust_env=False, headers=bearer) as client:
            made = await client.post("/cc/modules", json={"name": "m", "version": "1"})
            assert made.status_code == 201
            told = page.get_by_role("table", name="The last administrative acts")
            await expect(told.get_by_role("row", name="the boss")).to_contain_text("POST /cc/modules")
            page.on("dialog", lambda dialog: dialog.accept())
            await page.get_by_role("button", name="Revoke: the boss").click()
            await expect(page.locator("#notice")).to_have_text("The token the boss is revoked.")
            assert (await client.get("/cc/status")).status_code == 401
        await expect(page.locator("#part-access")).to_contain_text("There is no token")
        await page.get_by_role("link", name="Those that have ended too").click()
        await expect(page.get_by_role("table", name="Tokens")).to_contain_text("revoked")
        assert token not in await page.content()


class TestOthers:
    async def test_who_may_only_read_is_not_led_there(self, core) -> None:
        """Neither the pages, nor their live parts, nor their acts."""
        settings = load_settings(data_dir=core.settings.data_dir, require_token=True)
        app = with_edge(create_app(dataclasses.replace(core.services(), settings=settings)))
        async with core.sessions() as db, db.begin():
            token = (await service.create_token(db, TokenIn(name="reader", scope="write"))).token
        server = ApiServer(app=app, listener=bind(0), stop_timeout_seconds=2)
        await server.start()
        try:
            bearer = {"Authorization": f"Bearer {token}"}
            async with httpx.AsyncClient(base_url=server.url, trust_env=False, headers=bearer) as client:
                contents = (await client.get("/")).text
                assert "/ui/notes" in contents
                for path in ("/ui/webhooks", "/ui/access"):
                    assert path not in contents
                    assert (await client.get(path)).status_code == 403
                    assert (await client.get(path.replace("/ui/", "/ui/live/"))).status_code == 403
                    assert (await client.post(path, data={"name": "x"})).status_code == 403
        finally:
            await server.stop()
