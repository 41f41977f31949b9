"""The inspector's page, of a real Hypercorn, in a real Chromium."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import jwt
import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect

from quart_realtime.client import Client, connect

from ..conftest import SECRET
from ..e2e.server import Server, memory_flat, serving
from ..e2e.sockets import post
from .conftest import BOUND

pytestmark = pytest.mark.asyncio(loop_scope="module")

AXE = Path(__file__).parents[2] / "node_modules" / "axe-core" / "axe.min.js"
FIND = """async () => (await axe.run()).violations.map(
    (one) => `${one.id}: ${one.nodes.map((node) => node.html).join()}`)"""
HOSTILE = "<img src=x onerror=\"document.title='taken over'\">"
ROWS = 300
"""How many frames the page keeps."""


def token_of(user_id: str, **claims: Any) -> str:
    data = {
        "identity": user_id,
        "type": "access",
        "fresh": False,
        "jti": "1",
        "user_claims": claims,
    }
    return jwt.encode(data, SECRET, "HS256")


LOOKING = token_of("inspector", inspector=True)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serving("tests.e2e.app:app", INSPECTOR="inspector", RATE_LIMIT=None) as server:
        yield server


class Visitors:
    """Clients of the app that is looked at."""

    def __init__(self, server: Server, stack: AsyncExitStack) -> None:
        self._server = server
        self._stack = stack

    async def come(self, user_id: str) -> Client:
        client = connect(self._server.ws_url, token=token_of(user_id))
        return await self._stack.enter_async_context(client)

    async def publish(self, room: str, first: int, last: int) -> None:
        url = f"{self._server.url}/numbers/{room}/{first}/{last}"
        assert await post(url, token_of("ana")) == 204


@pytest_asyncio.fixture(loop_scope="module")
async def visitors(server: Server) -> AsyncIterator[Visitors]:
    async with AsyncExitStack() as stack:
        yield Visitors(server, stack)


@pytest_asyncio.fixture(loop_scope="module")
async def blank(browser: Browser, server: Server) -> AsyncIterator[Page]:
    """Open the page, which asks for a token, and see that nothing goes wrong in it."""
    problems: list[str] = []
    page = await (await browser.new_context(viewport={"width": 1440, "height": 900})).new_page()
    page.set_default_timeout(BOUND)
    page.on("pageerror", lambda error: problems.append(str(error)))
    # A policy that is offended is told there.
    page.on("console", lambda line: problems.append(line.text) if "policy" in line.text else None)
    await page.goto(f"{server.url}/ws/inspector")
    await expect(page.locator("#login-token")).to_be_focused()
    yield page
    await page.context.close()
    assert problems == []


async def log_in(page: Page, token: str) -> None:
    await page.fill("#login-token", token)
    await page.click("#login-form button")


@pytest_asyncio.fixture(loop_scope="module")
async def page(blank: Page) -> Page:
    """Look, and connect the console."""
    await log_in(blank, LOOKING)
    for state in ("#live", "#console-state"):
        await expect(blank.locator(state)).to_have_attribute("data-state", "connected")
    return blank


async def send(page: Page, action: str, payload: str) -> None:
    await page.select_option("#console-action", action)
    await page.fill("#console-payload", payload)
    await page.click("#console-send")


async def test_connections_and_rooms_appear_and_vanish(page: Page, visitors: Visitors) -> None:
    ana = await visitors.come("ana")
    await ana.subscribe("hall:north")
    row = page.locator("#connections tbody tr:has-text('ana')")
    await expect(row).to_contain_text("127.0.0.1 · 3 rooms")
    room = page.locator("#rooms tbody tr:has-text('hall:north')")
    await room.locator("td button").click()
    await expect(page.locator("#opened")).to_contain_text("ana · ")
    await page.fill("#search", "north")
    await expect(page.locator("#rooms tbody tr")).to_have_count(1)
    await expect(page.locator("#connections tbody tr")).to_have_count(0)
    await page.fill("#search", "")
    await ana.disconnect()
    await expect(row).to_have_count(0)
    await expect(room).to_have_count(0)
    await expect(page.locator("#connections tbody tr")).to_have_count(1)  # The console's.


async def test_frames_flow_and_are_chosen_among(page: Page, visitors: Visitors) -> None:
    ana, luis = await visitors.come("ana"), await visitors.come("luis")
    await luis.subscribe("numbers:flow")
    await ana.request("echo", "say", text="good morning")
    await visitors.publish("flow", 0, 3)
    frames = page.locator("#frames li")
    asked = frames.filter(has_text="request").filter(has_text="echo.say").filter(has_text="ana")
    await asked.locator("button").click()
    await expect(asked.locator("pre")).to_contain_text("good morning")
    await expect(frames.filter(has_text="response").filter(has_text="echo.say")).to_contain_text(
        " ms"
    )
    await page.click("#rooms tbody tr:has-text('numbers:flow') th button")
    await expect(frames).to_have_count(3)
    await expect(frames.first).to_contain_text("numbers:flow · 1 member")
    await page.click("#pause")
    await visitors.publish("flow", 3, 5)
    await ana.request("echo", "say", text="unseen")
    await page.click("#pause")
    await visitors.publish("flow", 5, 6)
    await expect(frames).to_have_count(4)
    await page.click("#filter-none")
    await page.select_option("#filter-direction", "in")
    await ana.request("echo", "say", text="once more")
    await expect(frames.first).to_contain_text("echo.say")
    assert set(
        await frames.locator("[aria-label]").evaluate_all("all => all.map(a => a.ariaLabel)")
    ) <= {
        "from a client",
        "The frame",
    }


async def test_a_request_of_the_console_is_answered_and_an_event_is_watched(
    page: Page, visitors: Visitors
) -> None:
    log = page.locator("#console-log li")
    await send(page, "echo.say", '{"text": "from the console"}')
    await expect(log.filter(has_text="echo.say ·")).to_contain_text("from the console")
    await send(page, "conversations.get", '{"conversation_id": "none"}')
    await expect(log.filter(has_text="not_found")).to_contain_text("Conversación no encontrada")
    await send(page, "echo.say", "{text}")
    await expect(page.locator("#console-failure")).to_contain_text("The payload is no JSON")
    await page.fill("#console-room", "numbers:watched")
    await page.press("#console-room", "Enter")
    await expect(log.filter(has_text="watched from now on")).to_be_visible()
    await visitors.publish("watched", 41, 42)
    await expect(log.filter(has_text="number · numbers:watched 1")).to_contain_text("41")
    await page.fill("#console-room", "nobody:may")
    await page.press("#console-room", "Enter")
    await expect(log.filter(has_text="nobody:may")).to_contain_text("not allowed")
    await expect(page.locator("#console-rooms li")).to_have_text([re.compile("numbers:watched")])


async def test_whatever_clients_send_stays_text(page: Page, visitors: Visitors) -> None:
    title = await page.title()
    mallory = await visitors.come(HOSTILE)
    await mallory.subscribe(f"numbers:{HOSTILE}")
    await page.fill("#console-room", f"numbers:{HOSTILE}")
    await page.press("#console-room", "Enter")
    message = {"conversation_id": HOSTILE, "content": HOSTILE, HOSTILE: HOSTILE}
    await mallory.request("messages", "create", message=message)
    with pytest.raises(Exception, match="there is no"):
        await mallory.request(HOSTILE, HOSTILE)
    told = page.locator("#frames li").filter(has_text="new_message")
    await told.first.locator("button").click()
    await expect(told.first.locator("pre")).to_contain_text("<img src=x")
    await expect(page.locator("#connections")).to_contain_text(HOSTILE)
    await expect(page.locator("#rooms")).to_contain_text(f"numbers:{HOSTILE}")
    heard = page.locator("#console-log li").filter(has_text="new_message")
    await expect(heard).to_contain_text("<img src=x")
    assert await page.locator("img, script:not([src])").count() == 0
    assert await page.title() == title


async def test_no_token_is_shown(page: Page, visitors: Visitors) -> None:
    ana = await visitors.come("ana")
    await ana.request("echo", "say", text=f"take {LOOKING}")
    await expect(page.locator("#frames li").filter(has_text="echo.say").first).to_be_visible()
    for button in await page.locator("#frames li button").all():
        await button.click()
    signature = LOOKING.rpartition(".")[2]
    assert signature not in await page.content()
    assert not await page.evaluate("Object.keys({ ...localStorage, ...sessionStorage }).length")


async def test_a_token_without_the_claim_is_refused_and_one_with_it_let_in(blank: Page) -> None:
    await log_in(blank, token_of("ana"))
    await expect(blank.locator("#login-failure")).to_contain_text("claim 'inspector'")
    await log_in(blank, "nonsense")
    await expect(blank.locator("#login-failure")).to_contain_text("not accepted")
    await expect(blank.locator("#inspector")).to_be_hidden()
    await log_in(blank, LOOKING)
    await expect(blank.locator("#live")).to_have_text("live")


async def test_there_is_no_page_where_it_is_off(browser: Browser) -> None:
    with serving("tests.e2e.app:app") as server:
        page = await browser.new_page()
        response = await page.goto(f"{server.url}/ws/inspector")
        assert response is not None
        assert response.status == 404
        await page.close()


async def test_however_many_frames_flow_so_many_are_kept(
    page: Page, visitors: Visitors, server: Server
) -> None:
    ana = await visitors.come("ana")
    await ana.subscribe("numbers:flood")
    with memory_flat(server):
        for first in range(0, 6000, 2000):
            await visitors.publish("flood", first, first + 2000)
    await expect(page.locator("#dropped")).to_contain_text("too fast to show")
    await expect(page.locator("#frames-count")).to_contain_text(f"the last {ROWS} of")
    assert await page.locator("#frames li").count() == ROWS
    # Asked for the last, so that all that came before has been drawn.
    await send(page, "echo.say", '{"text": "still there"}')
    await expect(page.locator("#console-log li").first).to_contain_text("still there")
    assert await page.locator("#console-log li").count() <= 200
    plot = page.locator("[data-figure=deliveries]")
    await expect(plot.locator("svg")).not_to_have_attribute("aria-label", "at most 0/s")


async def test_the_page_is_used_by_the_keyboard_alone(page: Page, visitors: Visitors) -> None:
    ana = await visitors.come("ana")
    for text in ("one", "two"):
        await ana.request("echo", "say", text=text)
    await page.select_option("#filter-type", "request")
    await page.select_option("#filter-direction", "in")
    await expect(page.locator("#frames li")).to_have_count(2)
    await page.focus("#filter-none")
    await page.keyboard.press("Tab")
    await page.keyboard.press("ArrowDown")
    await page.keyboard.press("Enter")
    await expect(page.locator("#frames li").nth(1).locator("pre")).to_contain_text("one")
    await page.select_option("#console-action", "echo.say")
    await page.fill("#console-payload", '{"text": "by keys"}')
    await page.press("#console-payload", "Control+Enter")
    await expect(page.locator("#console-log li").first).to_contain_text("by keys")


@pytest.mark.skipif(not AXE.exists(), reason="axe-core is not installed: npm ci")
@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_axe_finds_nothing_that_shuts_anybody_out(
    blank: Page, visitors: Visitors, scheme: Any
) -> None:
    await blank.emulate_media(color_scheme=scheme)
    # The policy lets no script of another origin in, and this one by way of the debugger.
    await blank.evaluate(AXE.read_text())
    assert await blank.evaluate(FIND) == []
    await log_in(blank, LOOKING)
    ana = await visitors.come("ana")
    await ana.request("echo", "say", text="hello")
    await blank.locator("#frames li button").first.click()
    await expect(blank.locator("#connections tbody tr")).to_have_count(2)
    await blank.locator("#rooms td button").first.click()
    await expect(blank.locator("#opened")).to_be_visible()
    for width in (390, 1440):
        await blank.set_viewport_size({"width": width, "height": 900})
        assert await blank.evaluate(FIND) == []
        assert await blank.evaluate("document.documentElement.scrollWidth") <= width
