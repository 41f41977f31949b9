"""The chat page, on the JavaScript client, when networks do what networks do."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest
from playwright.async_api import Page, expect

from ..e2e.server import Server
from .conftest import BOUND, Windows, connected, said, write
from .proxy import Proxy

README = Path(__file__).parents[2] / "README.md"


async def test_two_windows_chat(windows: Windows) -> None:
    ana, luis = await windows.open("ana"), await windows.open("luis")
    await write(ana, "Hola Luis")
    await expect(luis.locator("#messages .content", has_text="Hola Luis")).to_be_visible()
    await luis.type("#content", "Hola")
    await expect(ana.locator("#typing")).to_contain_text("is typing")
    await expect(ana.locator("#presence .here", has_text="Luis")).to_be_visible()
    await luis.press("#content", "Enter")
    await expect(ana.locator("#messages .content", has_text="Hola").last).to_be_visible()
    assert await said(ana, "Hola Luis") == ["Hola Luis"]
    await luis.close()
    await expect(ana.locator("#presence .here", has_text="Luis")).to_have_count(0)


async def apart(windows: Windows, server: Server, proxy: Proxy) -> tuple[Page, Page]:
    """Open a window whose network has gone away, and one that has a way of its own."""
    ana = await windows.open("ana")
    luis = await windows.open("luis", port=server.port)
    proxy.go_away()
    await expect(ana.locator("#connection")).to_have_attribute("data-state", "waiting")
    return ana, luis


async def test_what_was_said_while_the_network_was_away_comes_once_and_in_order(
    windows: Windows, server: Server, proxy: Proxy
) -> None:
    ana, luis = await apart(windows, server, proxy)
    for number in range(20):
        await write(luis, f"missed {number}")
    await expect(luis.locator("#messages .pending")).to_have_count(0)
    proxy.come_back()
    await expect(ana.locator("#notice")).to_contain_text("Nothing was missed")
    await write(luis, "missed none")
    await expect(ana.locator("#messages .content", has_text="missed none")).to_be_visible()
    assert await said(ana, "missed") == [
        *(f"missed {number}" for number in range(20)),
        "missed none",
    ]


async def test_what_is_written_offline_is_sent_once_afterwards(
    windows: Windows, server: Server, proxy: Proxy
) -> None:
    ana, luis = await apart(windows, server, proxy)
    await write(ana, "late 1")
    await write(ana, "late 2")
    await expect(ana.locator("#messages .pending")).to_have_count(2)
    proxy.come_back()
    await expect(ana.locator("#messages .pending")).to_have_count(0)
    await expect(luis.locator("#messages .content", has_text="late 2")).to_be_visible()
    for page in (ana, luis):
        assert await said(page, "late") == ["late 1", "late 2"]


async def test_a_network_that_swallows_everything_is_noticed(
    windows: Windows, proxy: Proxy
) -> None:
    ana = await windows.open("ana")
    proxy.swallow()
    # Within the ping interval, one second here, and ten more.
    await expect(ana.locator("#connection")).not_to_have_attribute(
        "data-state", "connected", timeout=BOUND
    )
    proxy.pass_on()
    await connected(ana)


async def test_a_socket_in_doubt_is_asked_and_replaced(windows: Windows, proxy: Proxy) -> None:
    ana = await windows.open("ana")
    proxy.swallow()
    await ana.evaluate("dispatchEvent(new Event('online'))")
    # Three seconds after the question, long before the silence alone would tell.
    await expect(ana.locator("#connection")).not_to_have_attribute(
        "data-state", "connected", timeout=6_000
    )
    proxy.pass_on()
    await connected(ana)


async def test_a_server_that_is_replaced_is_come_back_to(
    windows: Windows, server: Server, proxy: Proxy
) -> None:
    ana = await windows.open("ana")
    await asyncio.to_thread(server.stop)
    await expect(ana.locator("#connection")).not_to_have_attribute("data-state", "connected")
    await write(ana, "to the next one")
    again = Server("example_app:create_app()")
    try:
        proxy.target(again.port)
        await connected(ana)
        await expect(ana.locator("#messages .pending")).to_have_count(0)
        assert await said(ana, "to the next") == ["to the next one"]
    finally:
        await asyncio.to_thread(again.stop)


LISTS_COME_LATE = """
const { set } = Object.getOwnPropertyDescriptor(WebSocket.prototype, "onmessage");
Object.defineProperty(WebSocket.prototype, "onmessage", {
  set(handler) {
    const late = (event) => /"response".*"messages":\\[/.test(event.data);
    set.call(this, handler && ((event) => setTimeout(handler, late(event) ? 1500 : 0, event)));
  },
});
"""


async def test_what_is_said_while_messages_are_loaded_is_shown_too(windows: Windows) -> None:
    ana, luis = await windows.open("ana"), await windows.open("luis", script=LISTS_COME_LATE)
    await luis.click("#conversations button")
    await expect(luis.locator("#messages li")).to_have_count(0)
    await write(ana, "meanwhile")
    await expect(luis.locator("#messages .content", has_text="meanwhile")).to_be_visible()
    await expect(luis.locator("#messages .content", has_text="Hola, Luis")).to_be_visible()
    assert await said(luis, "meanwhile") == ["meanwhile"]


async def test_a_page_that_comes_out_of_the_cache_connects_again(windows: Windows) -> None:
    ana = await windows.open("ana")
    await ana.evaluate("dispatchEvent(new PageTransitionEvent('pagehide', {persisted: true}))")
    await expect(ana.locator("#connection")).to_have_attribute("data-state", "waiting")
    await ana.evaluate("dispatchEvent(new PageTransitionEvent('pageshow', {persisted: true}))")
    await connected(ana)


async def test_a_page_that_was_frozen_comes_back_to_all_it_missed(windows: Windows) -> None:
    ana, luis = await windows.open("ana"), await windows.open("luis")
    tools = await ana.context.new_cdp_session(ana)
    await tools.send("Page.setWebLifecycleState", {"state": "frozen"})
    for number in range(5):
        await write(luis, f"frozen {number}")
    await expect(luis.locator("#messages .pending")).to_have_count(0)
    await tools.send("Page.setWebLifecycleState", {"state": "active"})
    await expect(ana.locator("#messages .content", has_text="frozen 4")).to_be_visible()
    assert await said(ana, "frozen") == [f"frozen {number}" for number in range(5)]


async def test_who_logs_in_after_another_hears_nothing_of_theirs(windows: Windows) -> None:
    ana, luis = await windows.open("ana"), await windows.open("luis")
    await ana.click("#logout")
    await ana.click("[data-demo=eva]")
    await connected(ana)
    await expect(ana.locator("#me")).to_have_text("Eva")
    await expect(luis.locator("#presence .here", has_text="Ana")).to_have_count(0)
    await luis.click("#new-conversation")
    await luis.fill("#new-form [name=title]", "With Ana alone")
    await luis.click("#people label:has-text('Ana')")
    await luis.click("#new-form [value=create]")
    await expect(luis.locator("#thread-title")).to_have_text("With Ana alone")
    await write(luis, "a secret")
    await expect(luis.locator("#messages .pending")).to_have_count(0)
    await luis.click("#conversations button:has-text('Welcome')")
    await expect(luis.locator("#thread-title")).to_have_text("Welcome")
    await write(luis, "for everybody")
    # What comes after it has come, and so would it have.
    await expect(ana.locator("#messages .content", has_text="for everybody")).to_be_visible()
    assert await ana.locator("#conversations button").count() == 1
    assert await said(ana, "a secret") == []


async def test_the_readmes_example_runs_on_the_page(windows: Windows) -> None:
    (example,) = re.findall(
        r"```javascript\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL
    )
    example = re.sub(r'import (\{.*?\}) from ("[^"]+");', r"const \1 = await import(\2);", example)
    ana, luis = await windows.open("ana"), await windows.open("luis")
    token = "JSON.parse(sessionStorage.getItem('chat.tokens')).access_token"
    example = example.replace("user123", "ana")
    told = asyncio.create_task(ana.wait_for_event("console"))
    script = f"const token = {token}; {example} return conversations;"
    (welcome,) = await ana.evaluate(f"async () => {{ {script} }}")
    assert welcome["title"] == "Welcome"
    await write(luis, "heard by the example")
    message = await (await told).args[0].json_value()
    assert message["content"] == "heard by the example"


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_the_page_fits_a_phone(windows: Windows, scheme: str) -> None:
    ana = await windows.open("ana")
    await ana.emulate_media(color_scheme=scheme)
    await ana.set_viewport_size({"width": 390, "height": 780})
    width = await ana.evaluate("document.documentElement.scrollWidth")
    assert width <= 390
