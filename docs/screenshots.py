"""Takes the pictures in the documentation: ``python -m docs.screenshots``.

It needs what the tests of the pages need: Chromium, Playwright, and ``npm run react``.
"""

from __future__ import annotations

import asyncio
import base64
import os
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from playwright.async_api import Browser, Page, async_playwright

from example_app.rest import log_in
from quart_realtime.client import connect
from tests.browser.conftest import go_to, start
from tests.browser.engines import CHROMIUM_OPTIONS, chromium_path
from tests.browser.lab import Author
from tests.e2e.server import Server
from tests.proxy import Proxy, proxying

HERE = Path(__file__).parent
DESKTOP: Any = {"width": 900, "height": 620}
WIDE: Any = {"width": 1200, "height": 760}
PHONE: Any = {"width": 390, "height": 720}


class Studio:
    """Opens windows on the chat, and puts their pictures together."""

    def __init__(self, browser: Browser, port: int, scale: float = 1.5) -> None:
        self._browser = browser
        self._scale = scale
        self._url = f"http://127.0.0.1:{port}"

    async def window(
        self, user: str, scheme: Any, path: str = "/", size: Any = DESKTOP, port: int | None = None
    ) -> Page:
        """Log *user* in, in a window of such a colour scheme and size."""
        context = await self._browser.new_context(
            viewport=size, color_scheme=scheme, device_scale_factor=self._scale, locale="en"
        )
        page = await context.new_page()
        await page.goto((self._url if port is None else f"http://127.0.0.1:{port}") + path)
        await page.click(f"[data-demo={user}]")
        await page.wait_for_selector("#connection[data-state=connected]")
        return page

    async def picture(self, name: str, windows: Sequence[Page]) -> None:
        """Keep what is seen in *windows*, side by side, as a file."""
        shots = [base64.b64encode(await page.screenshot()).decode() for page in windows]
        sizes = [page.viewport_size or DESKTOP for page in windows]
        images = "".join(
            f'<img src="data:image/png;base64,{shot}" width={size["width"]}>'
            for shot, size in zip(shots, sizes, strict=True)
        )
        table = await self._browser.new_page(device_scale_factor=self._scale)
        await table.set_content(f"<style>{STYLE}</style><div>{images}</div>")
        await table.locator("div").screenshot(path=HERE / name, omit_background=True)
        await table.close()


STYLE = """
body { margin: 0 }
div { display: flex; gap: 24px; padding: 24px; width: max-content; background: #cfd3e2 }
img { border-radius: 14px; box-shadow: 0 10px 30px rgb(20 22 40 / 30%) }
"""


async def say(page: Page, text: str) -> None:
    """Write as a user does, and wait until the server has it."""
    await page.fill("#content", text)
    await page.press("#content", "Enter")
    await page.wait_for_selector(f".message.own:not(.pending) .content:text-is('{text}')")


async def two_windows(studio: Studio) -> None:
    """Take the first picture: what one writes, the other sees at once."""
    ana, luis = await studio.window("ana", "light"), await studio.window("luis", "dark")
    await start(luis, "Trip to Cádiz", "Ana", "Eva")
    await say(luis, "The 9:40 train still has seats")
    await go_to(ana, "Trip to Cádiz")
    await say(ana, "Wonderful! Shall I get three?")
    await say(luis, "Yes, by the window please")
    await go_to(luis, "Welcome")
    await say(luis, "Who is coming on Friday?")
    await go_to(luis, "Trip to Cádiz")
    await ana.type("#content", "Done, they are")
    await luis.wait_for_selector("#typing:has-text('Ana is typing')")
    await studio.picture("two-windows.png", [ana, luis])
    await asyncio.gather(*(page.context.close() for page in (ana, luis)))


async def phones(studio: Studio) -> None:
    """Take the page on phones: the list in light, a conversation in dark."""
    eva = await studio.window("eva", "light", size=PHONE)
    ana = await studio.window("ana", "dark", size=PHONE)
    await go_to(ana, "Trip to Cádiz")
    await say(ana, "Tickets are in your inboxes")
    await eva.wait_for_selector("#conversations .unread")
    await studio.picture("phones.png", [eva, ana])
    await asyncio.gather(*(page.context.close() for page in (eva, ana)))


async def react(studio: Studio, proxy: Proxy) -> None:
    """Take the React page: on a desk, and offline on a phone."""
    luis = await studio.window("luis", "light", "/react", {**DESKTOP, "height": PHONE["height"]})
    await go_to(luis, "Trip to Cádiz")
    ana = await studio.window("ana", "dark", "/react", PHONE, port=proxy.port)
    await go_to(ana, "Trip to Cádiz")
    proxy.go_away()
    await ana.wait_for_selector("#connection[data-state=waiting]")
    await ana.fill("#content", "In the tunnel, sent when I am out of it")
    await ana.press("#content", "Enter")
    await ana.wait_for_selector("#messages .pending")
    await studio.picture("react.png", [luis, ana])


async def inspector(browser: Browser, studio: Studio, url: str) -> None:
    """Take the inspector, in light and in dark, while four people write."""
    pages = [await look(browser, url, scheme) for scheme in ("light", "dark")]
    names = ("ana", "luis", "eva")
    authors = [Author(url, name) for name in names]
    tokens = [await log_in(url, name, name) for name in names]
    async with AsyncExitStack() as stack:
        for token in (*tokens, tokens[0]):
            client = connect(f"ws{url.removeprefix('http')}/ws", token=token)
            await stack.enter_async_context(client)
        for page in pages:
            await page.fill("#console-token", tokens[0])
            await page.click("#console-connect")
            await page.wait_for_selector("#console-state[data-state=connected]")
            await page.select_option("#console-action", "conversations.get_all")
            await page.click("#console-send")
        for number in range(40):
            for author in authors[: 1 + number % 3]:
                await author.write(LINES[number % len(LINES)])
            await asyncio.sleep(0.1 + 0.4 * (number % 4 == 0))
        for page in pages:
            await page.click("#frames li:has-text('new_message') button >> nth=0")
            await page.click("#rooms tbody tr:has-text('conversation:') td button >> nth=0")
            await page.wait_for_selector("#opened li")
        await studio.picture("inspector.png", pages)


LINES = (
    "The 9:40 train still has seats",
    "Wonderful! Shall I get three?",
    "Yes, by the window please",
    "Done, they are in your inboxes",
)


async def look(browser: Browser, url: str, scheme: Any) -> Page:
    """Open the inspector, which asks for no token in debug mode."""
    context = await browser.new_context(
        viewport=WIDE, color_scheme=scheme, device_scale_factor=1.5, locale="en"
    )
    page = await context.new_page()
    await page.goto(f"{url}/ws/inspector")
    await page.wait_for_selector("#live[data-state=connected]")
    return page


async def main() -> None:
    """Take all pictures."""
    with TemporaryDirectory() as directory:
        os.environ["DATABASE_URL"] = f"sqlite:///{directory}/chat.sqlite"
        os.environ["FLASK_DEBUG"] = "1"  # Read by Quart too; the inspector is there in debug mode.
        server = Server("example_app:create_app()")
        try:
            async with async_playwright() as playwright, proxying(server.port) as proxy:
                browser = await playwright.chromium.launch(
                    executable_path=chromium_path(), args=CHROMIUM_OPTIONS
                )
                studio = Studio(browser, server.port)
                await two_windows(studio)
                await phones(studio)
                await react(studio, proxy)
                await inspector(browser, studio, server.url)
                await browser.close()
        finally:
            server.stop()


if __name__ == "__main__":
    asyncio.run(main())
