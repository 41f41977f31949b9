"""The chat page, on the JavaScript client and on React's hooks, when networks do what they do."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest
from playwright.async_api import Page, expect

from ..documents import blocks
from ..e2e.server import Server, serving
from ..proxy import Proxy
from .conftest import Windows, connected, go_to, said, start, write

pytestmark = pytest.mark.asyncio(loop_scope="module")

AXE = Path(__file__).parents[2] / "node_modules" / "axe-core" / "axe.min.js"
FIND = """async () => (await axe.run()).violations.map(
  ({ id, nodes }) => `${id}: ${nodes.map(({ target }) => target).join()}`,
)"""

on_both_pages = pytest.mark.parametrize("path", ["/", "/react"], ids=["plain", "react"])


@on_both_pages
async def test_two_windows_chat(windows: Windows, path: str) -> None:
    ana, luis = await windows.open("ana", path), await windows.open("luis", path)
    await write(ana, "Hola Luis")
    await expect(luis.locator("#messages .content", has_text="Hola Luis")).to_be_visible()
    await luis.type("#content", "Hola")
    await expect(ana.locator("#typing")).to_contain_text("is typing")
    await expect(ana.locator("#presence .here", has_text="Luis")).to_be_visible()
    await luis.press("#content", "Enter")
    await expect(ana.locator("#messages .content", has_text="Hola").last).to_be_visible()
    await expect(ana.locator("#typing")).to_be_empty()
    assert await said(ana, "Hola Luis") == ["Hola Luis"]
    await luis.close()
    await expect(ana.locator("#presence .here", has_text="Luis")).to_have_count(0)
    await expect(ana.locator("#presence .person", has_text="Luis")).to_be_visible()


@on_both_pages
async def test_what_is_said_elsewhere_is_counted_until_it_is_seen(
    windows: Windows, path: str
) -> None:
    ana, luis = await windows.open("ana", path), await windows.open("luis", path)
    await start(luis, "Lunch", "Ana")
    await write(luis, "at one")
    await write(luis, "or at two")
    await expect(
        ana.locator("#conversations li", has_text="Lunch").locator(".unread")
    ).to_have_text("2")
    await go_to(ana, "Lunch")
    await expect(ana.locator("#messages .content")).to_have_text(["at one", "or at two"])
    await expect(ana.locator(".unread")).to_have_count(0)
    await write(luis, "at three")
    await expect(ana.locator("#messages .content", has_text="at three")).to_be_visible()
    await expect(ana.locator(".unread")).to_have_count(0)


@on_both_pages
async def test_own_messages_are_changed_and_deleted_for_everybody(
    windows: Windows, path: str
) -> None:
    ana, luis = await windows.open("ana", path), await windows.open("luis", path)
    await write(ana, "halo")
    await expect(luis.locator("#messages .content", has_text="halo")).to_be_visible()
    own = ana.locator("#messages .message:not(.pending)", has_text="halo")
    await own.hover()
    await own.get_by_text("Edit").click()
    await ana.fill(".editing textarea", "hallo")
    await ana.press(".editing textarea", "Enter")
    for page in (ana, luis):
        await expect(page.locator("#messages .content", has_text="hallo")).to_be_visible()
    own = ana.locator("#messages .message", has_text="hallo")
    await own.hover()
    await own.get_by_text("Delete").click()
    await ana.click("#delete-dialog [value=delete]")
    for page in (ana, luis):
        await expect(page.locator("#messages .content", has_text="hallo")).to_have_count(0)
    assert await luis.locator("#messages .own .actions").count() == 1  # Of what luis wrote.


TELL = """async (contents) => {
  const { access_token } = JSON.parse(sessionStorage.getItem("chat.tokens"));
  const headers = { Authorization: `Bearer ${access_token}`, "Content-Type": "application/json" };
  for (const content of contents) {
    const body = JSON.stringify({ message: { content } });
    await fetch("/conversations/conv-welcome/messages", { method: "POST", headers, body });
  }
}"""


@on_both_pages
async def test_earlier_messages_come_before_those_that_are_read(
    windows: Windows, path: str
) -> None:
    ana = await windows.open("ana", path)
    told = [f"told {number}" for number in range(70)]
    await ana.evaluate(TELL, told)
    await ana.reload()
    await expect(ana.locator("#messages .content", has_text="told 69")).to_be_in_viewport()
    assert await said(ana, "told") == told[20:]
    await ana.locator("#older").scroll_into_view_if_needed()
    read = ana.locator("#messages li", has_text="told 20")
    before = await read.bounding_box()
    await ana.click("#older")
    await expect(ana.locator("#older")).to_be_hidden()
    assert await said(ana, "told") == told
    after = await read.bounding_box()
    assert before is not None
    assert after is not None
    assert after["y"] == pytest.approx(before["y"], abs=1)


@on_both_pages
async def test_what_the_server_refuses_can_be_sent_again_or_discarded(
    windows: Windows, path: str
) -> None:
    ana = await windows.open("ana", path)
    await ana.evaluate("document.getElementById('content').value = 'x'.repeat(4001)")
    await ana.press("#content", "Enter")
    failed = ana.locator("#messages .pending.failed")
    await expect(failed).to_contain_text("Not sent:")
    await failed.get_by_text("Send again").click()
    await expect(failed).to_contain_text("Not sent:")
    await write(ana, "short enough")
    await expect(ana.locator("#messages .message:not(.pending)").last).to_contain_text("short")
    await failed.get_by_text("Discard").click()
    await expect(ana.locator("#messages .pending")).to_have_count(0)


DELETE_ACCOUNT = """async () => {
  const { access_token } = JSON.parse(sessionStorage.getItem("chat.tokens"));
  const headers = { Authorization: `Bearer ${access_token}` };
  await fetch("/users/ana", { method: "DELETE", headers });
}"""


@on_both_pages
async def test_whoever_the_server_sends_away_is_told_why(windows: Windows, path: str) -> None:
    ana, luis = await windows.open("ana", path), await windows.open("luis", path)
    await ana.evaluate(DELETE_ACCOUNT)
    await expect(ana.locator("#login-failure")).to_have_text("the account was deleted")
    await expect(luis.locator("#presence .person", has_text="Ana")).to_have_count(0)
    # Nor is what they said to be seen any longer.
    await expect(luis.locator("#messages .content", has_text="Hola, Luis")).to_have_count(0)
    await ana.fill("[name=username]", "luis")
    await ana.fill("[name=password]", "wrong")
    await ana.press("[name=password]", "Enter")
    await expect(ana.locator("#login-failure")).to_have_text("wrong username or password")
    await ana.fill("[name=password]", "luis")
    await ana.press("[name=password]", "Enter")
    await expect(ana.locator("#me")).to_have_text("Luis")


COUNT_DOUBLES = """() => {
  window.doubles = 0;
  new MutationObserver(() => {
    const items = [...document.querySelectorAll("#messages .content")];
    const shown = items.map((item) => item.textContent);
    window.doubles += shown.length - new Set(shown).size;
  }).observe(document.getElementById("messages"), { childList: true, subtree: true });
}"""


@on_both_pages
async def test_what_is_sent_is_not_shown_twice_between_its_event_and_its_answer(
    windows: Windows, path: str
) -> None:
    ana = await windows.open("ana", path)
    await ana.evaluate(COUNT_DOUBLES)
    for number in range(10):
        await write(ana, f"once {number}")
        await expect(ana.locator("#messages .pending")).to_have_count(0)
    assert await said(ana, "once") == [f"once {number}" for number in range(10)]
    assert await ana.evaluate("doubles") == 0


async def apart(windows: Windows, server: Server, proxy: Proxy, path: str) -> tuple[Page, Page]:
    """Open a window whose network has gone away, and one that has a way of its own."""
    ana = await windows.open("ana", path)
    luis = await windows.open("luis", path, port=server.port)
    proxy.go_away()
    await expect(ana.locator("#connection")).to_have_attribute("data-state", "waiting")
    return ana, luis


@on_both_pages
async def test_what_was_said_while_the_network_was_away_comes_once_and_in_order(
    windows: Windows, server: Server, proxy: Proxy, path: str
) -> None:
    ana, luis = await apart(windows, server, proxy, path)
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


@on_both_pages
async def test_what_is_written_offline_is_sent_once_afterwards(
    windows: Windows, server: Server, proxy: Proxy, path: str
) -> None:
    ana, luis = await apart(windows, server, proxy, path)
    await write(ana, "late 1")
    await write(ana, "late 2")
    await expect(ana.locator("#messages .pending")).to_have_count(2)
    proxy.come_back()
    await expect(ana.locator("#messages .pending")).to_have_count(0)
    await expect(luis.locator("#messages .content", has_text="late 2")).to_be_visible()
    for page in (ana, luis):
        assert await said(page, "late") == ["late 1", "late 2"]


@on_both_pages
async def test_a_server_that_is_replaced_is_come_back_to(
    windows: Windows, server: Server, proxy: Proxy, path: str
) -> None:
    ana = await windows.open("ana", path)
    await asyncio.to_thread(server.stop)
    await expect(ana.locator("#connection")).not_to_have_attribute("data-state", "connected")
    await write(ana, "to the next one")
    again = Server("example_app:create_app()")
    try:
        luis = await windows.open("luis", path, port=again.port)
        await write(luis, "said where nobody else was")
        await expect(luis.locator("#messages .pending")).to_have_count(0)
        proxy.target = again.port
        await connected(ana)
        # The next one can't tell what was missed, so it's loaded.
        await expect(ana.locator("#notice")).to_contain_text("Loading what was missed")
        await expect(ana.locator("#messages .content", has_text="nobody else")).to_be_visible()
        await expect(ana.locator("#messages .pending")).to_have_count(0)
        assert await said(ana, "to the next") == ["to the next one"]
        assert await said(ana, "said where") == ["said where nobody else was"]
    finally:
        await asyncio.to_thread(again.stop)


LATE = """
const { set } = Object.getOwnPropertyDescriptor(WebSocket.prototype, "onmessage");
Object.defineProperty(WebSocket.prototype, "onmessage", {
  set(handler) {
    const late = (event) => /"response".*"%s":\\[/.test(event.data);
    set.call(this, handler && ((event) => {
      if (late(event)) document.documentElement.dataset.comes = "late";
      setTimeout(handler, late(event) ? 1500 : 0, event);
    }));
  },
});
"""
"""Has answers with a list of such a name come a second and a half late."""


@on_both_pages
async def test_what_is_said_while_messages_are_loaded_is_shown_too(
    windows: Windows, path: str
) -> None:
    ana = await windows.open("ana", path)
    luis = await windows.open("luis", path, script=LATE % "messages")
    await luis.reload()
    await expect(luis.locator("html")).to_have_attribute("data-comes", "late")
    assert await luis.locator("#messages li").count() == 0
    await write(ana, "meanwhile")
    await expect(luis.locator("#messages .content", has_text="meanwhile")).to_be_visible()
    await expect(luis.locator("#messages .content", has_text="Hola, Luis")).to_be_visible()
    assert await said(luis, "meanwhile") == ["meanwhile"]


LISTS_FAIL = """
const { set } = Object.getOwnPropertyDescriptor(WebSocket.prototype, "onmessage");
Object.defineProperty(WebSocket.prototype, "onmessage", {
  set(handler) {
    set.call(this, handler && ((event) => {
      const frame = JSON.parse(event.data);
      if (window.listsFail && frame.type === "response" && frame.payload?.conversations) {
        const payload = { code: "unavailable", message: "The list can't be had" };
        const data = JSON.stringify({ type: "error", id: frame.id, payload });
        event = new MessageEvent("message", { data });
      }
      handler.call(this, event);
    }));
  },
});
"""
"""Has the server refuse lists as long as the page says so."""


@on_both_pages
async def test_what_could_not_be_loaded_after_one_return_is_loaded_after_the_next(
    windows: Windows, server: Server, proxy: Proxy, path: str
) -> None:
    ana = await windows.open("ana", path, script=LISTS_FAIL)
    await ana.evaluate("() => { window.listsFail = true; }")
    await asyncio.to_thread(server.stop)
    with serving("example_app:create_app()") as again:
        proxy.target = again.port
        # The new process remembers nothing.
        await expect(ana.locator("body")).to_contain_text("The list can't be had")
        await ana.evaluate("() => { window.listsFail = false; }")
        await connected(ana)
        proxy.go_away()
        await expect(ana.locator("#connection")).to_have_attribute("data-state", "waiting")
        luis = await windows.open("luis", path, port=again.port)
        proxy.come_back()
        await expect(ana.locator("#notice")).to_contain_text("Loading what was missed")
        await expect(ana.locator("body")).not_to_contain_text("The list can't be had")
        await write(luis, "all is well")
        await expect(ana.locator("#messages .content", has_text="all is well")).to_be_visible()


async def now(page: Page) -> int:
    """Return the time of the page's clock, in milliseconds."""
    return int(await page.evaluate("Date.now()"))


@on_both_pages
async def test_what_is_answered_before_what_was_missed_has_come_is_shown_after_it(
    windows: Windows, server: Server, proxy: Proxy, path: str
) -> None:
    ana = await windows.open("ana", path, script=LATE % "rooms")
    luis = await windows.open("luis", path, port=server.port)
    proxy.go_away()
    await expect(ana.locator("#connection")).to_have_attribute("data-state", "waiting")
    await write(luis, "first: missed")
    await expect(luis.locator("#messages .pending")).to_have_count(0)
    # Messages tell the second that they were said in, and no more.
    await ana.wait_for_function("(start) => Date.now() - start > 1_000", arg=await now(ana))
    await write(ana, "second: own")
    proxy.come_back()
    await expect(ana.locator("#messages .pending")).to_have_count(0)
    assert await said(ana, "first") == []
    await expect(ana.locator("#messages .content", has_text="first: missed")).to_be_visible()
    shown = await ana.locator("#messages .content").all_text_contents()
    assert shown[-2:] == ["first: missed", "second: own"]


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


@on_both_pages
async def test_who_logs_in_after_another_hears_nothing_of_theirs(
    windows: Windows, path: str
) -> None:
    ana, luis = await windows.open("ana", path), await windows.open("luis", path)
    await ana.click("#logout")
    await ana.click("[data-demo=eva]")
    await connected(ana)
    await expect(ana.locator("#me")).to_have_text("Eva")
    await expect(luis.locator("#presence .here", has_text="Ana")).to_have_count(0)
    await start(luis, "With Ana alone", "Ana")
    await write(luis, "a secret")
    await expect(luis.locator("#messages .pending")).to_have_count(0)
    await go_to(luis, "Welcome")
    await write(luis, "for everybody")
    # What comes after it has come, and so would it have.
    await expect(ana.locator("#messages .content", has_text="for everybody")).to_be_visible()
    assert await ana.locator("#conversations button").count() == 1
    assert await said(ana, "a secret") == []


async def test_the_readmes_example_runs_on_the_page(windows: Windows) -> None:
    (example,) = blocks("README.md", "javascript")
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


@on_both_pages
@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_the_page_fits_a_phone(windows: Windows, path: str, scheme: str) -> None:
    ana = await windows.open("ana", path)
    await ana.emulate_media(color_scheme=scheme)
    await ana.set_viewport_size({"width": 390, "height": 780})
    width = await ana.evaluate("document.documentElement.scrollWidth")
    assert width <= 390


@on_both_pages
async def test_a_phone_shows_the_conversations_or_one_of_them(windows: Windows, path: str) -> None:
    ana = await windows.open("ana", path)
    await ana.set_viewport_size({"width": 390, "height": 780})
    await expect(ana.locator("#conversations")).to_be_hidden()
    await ana.click("#back")
    await expect(ana.locator("#thread")).to_be_hidden()
    await expect(ana.locator("#conversations button")).to_be_focused()
    await ana.keyboard.press("Enter")
    await expect(ana.locator("#messages .content", has_text="Hola, Luis")).to_be_visible()
    await expect(ana.locator("#conversations")).to_be_hidden()


@on_both_pages
@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_axe_finds_nothing_that_shuts_anybody_out(
    windows: Windows, path: str, scheme: str
) -> None:
    ana = await windows.open("ana", path)
    await ana.emulate_media(color_scheme=scheme)
    await start(ana, "Lunch", "Luis")
    await write(ana, "at one")
    await expect(ana.locator("#messages .content", has_text="at one")).to_be_visible()
    await ana.evaluate(AXE.read_text(encoding="utf-8"))
    await ana.click("#new-conversation")
    found = [await ana.evaluate(FIND)]
    await ana.keyboard.press("Escape")
    await ana.mouse.move(0, 0)
    found.append(await ana.evaluate(FIND))
    await ana.click("#logout")
    found.append(await ana.evaluate(FIND))
    assert found == [[], [], []]
