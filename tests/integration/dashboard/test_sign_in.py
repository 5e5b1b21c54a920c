"""Signing in, acting and signing out in a real browser, under the page's own policy."""

from __future__ import annotations

import dataclasses

import httpx
import pytest
from playwright.async_api import expect

from cos.backend.access import service
from cos.backend.access.schemas import TokenIn
from cos.backend.app import create_app, with_edge
from cos.config import load_settings
from cos.runtime.server import ApiServer, bind

LIVE = "#link[data-link=live]"


@pytest.fixture
async def api(core):
    """A COS that asks for tokens on loopback too; each test's pages go there."""
    settings = load_settings(data_dir=core.settings.data_dir, require_token=True)
    app = with_edge(create_app(dataclasses.replace(core.services(), settings=settings)))
    server = ApiServer(app=app, listener=bind(0), stop_timeout_seconds=2)
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def tokens(core):
    made = {}
    async with core.sessions() as db, db.begin():
        for scope in ("read", "admin"):
            made[scope] = (await service.create_token(db, TokenIn(name=scope, scope=scope))).token
    return made


class TestSignIn:
    async def test_in_acting_and_out(self, api, visit, tokens, faults_of) -> None:
        """Led to the form, refused with a wrong token, let in with a right one; live, acting, and out again."""
        page = await visit("/ui/notes")
        await expect(page.get_by_role("heading", name="Sign in to COS")).to_be_visible()
        assert await faults_of(page) == []
        await page.get_by_label("Token").fill("cos_wrong")
        await page.get_by_role("button", name="Sign in").click()
        await expect(page.get_by_role("alert")).to_contain_text("not known")
        await page.get_by_label("Token").fill(tokens["admin"])
        await page.get_by_role("button", name="Sign in").click()
        await expect(page).to_have_url(f"{api.url}/ui/notes")
        await expect(page.locator(LIVE)).to_be_visible()
        assert await page.evaluate("document.cookie") == ""
        assert tokens["admin"] not in await page.content()

        await page.get_by_role("button", name="Sign out").click()
        await expect(page.get_by_role("heading", name="Sign in to COS")).to_be_visible()
        await page.goto("/ui/notes")
        await expect(page.get_by_role("heading", name="Sign in to COS")).to_be_visible()

    async def test_another_site_gets_nothing(self, api, visit, tokens) -> None:
        """A page of another origin, in the same browser, can neither read nor write."""
        page = await visit("/sign-in")
        await page.get_by_label("Token").fill(tokens["admin"])
        await page.get_by_role("button", name="Sign in").click()
        await expect(page.locator(LIVE)).to_be_visible()
        other = api.url.replace("127.0.0.1", "localhost")
        foreign = await page.context.new_page()
        await foreign.goto(f"{other}/health")
        said = await foreign.evaluate(
            """async url => {
                const tried = [];
                for (const [path, how] of [["/events", {}], ["/events", {method: "POST", body: "{}"}]]) {
                    try {
                        const answer = await fetch(url + path, {credentials: "include", mode: "cors", ...how});
                        tried.push(answer.status);
                    } catch { tried.push("kept away"); }
                }
                return tried;
            }""",
            api.url,
        )
        assert said == ["kept away", "kept away"]
        async with httpx.AsyncClient(base_url=api.url, trust_env=False) as http:
            headers = {"Authorization": f"Bearer {tokens['read']}"}
            kinds = [one["type"] for one in (await http.get("/events", headers=headers)).json()["events"]]
        assert set(kinds) <= {"token.created", "session.opened", "note.created"}
