"""The example on a real Hypercorn, and its page in a real Chromium behind a proxy."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, Route, async_playwright, expect

from ..e2e.server import Server
from ..proxy import Proxy, proxying
from .engines import CHROMIUM_OPTIONS, chromium_path
from .lab import Author

SECRET = "a secret for tests only, 32 bytes"
SECONDS = 1_000
BOUND = 30 * SECONDS
"""How many milliseconds anything may take before a test fails."""

expect.set_options(timeout=BOUND)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    """Have one browser for all tests of a module, which therefore share an event loop."""
    async with async_playwright() as playwright:
        path = chromium_path()
        yield await playwright.chromium.launch(executable_path=path, args=CHROMIUM_OPTIONS)


def set_environment(environment: pytest.MonkeyPatch, directory: Path) -> None:
    """Set what the servers of a test are to share."""
    settings = {
        "DATABASE_URL": f"sqlite:///{directory / 'chat.sqlite'}",
        "JWT_SECRET_KEY": SECRET,
        "QUART_REALTIME_MAX_CONNECTIONS_PER_USER": "100",
        # All clients have one address.
        "QUART_REALTIME_HANDSHAKE_RATE_LIMIT": "null",
        "QUART_REALTIME_PING_INTERVAL": "1",
        "QUART_REALTIME_RETRY_AFTER": "1",
    }
    for name, value in settings.items():
        environment.setenv(name, value)


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    set_environment(monkeypatch, tmp_path)
    return monkeypatch


@pytest.fixture
def server(environment: pytest.MonkeyPatch) -> Iterator[Server]:
    server = Server("example_app:create_app()")
    yield server
    server.stop()


@pytest_asyncio.fixture(loop_scope="module")
async def proxy(server: Server) -> AsyncIterator[Proxy]:
    async with proxying(server.port) as proxy:
        yield proxy


@pytest.fixture
def luis(server: Server) -> Author:
    return Author(server.url, "luis")


async def serve(file: Path, route: Route) -> None:
    """Answer a request of the page's with *file*."""
    await route.fulfill(path=file)


class Windows:
    """Opens windows on the chat, each with a login of its own, and notes what goes wrong there."""

    def __init__(self, browser: Browser, port: int) -> None:
        self._port = port
        self.problems: list[str] = []
        self._browser = browser

    def url(self, path: str) -> str:
        """Return where the server has *path*."""
        return f"http://127.0.0.1:{self._port}{path}"

    async def open(
        self,
        user: str,
        path: str = "/",
        *,
        script: str = "",
        bundle: Path | None = None,
        port: int | None = None,
    ) -> Page:
        """Log *user* in, in a window of their own, and wait until messages are shown.

        *script* is run in the window before the page's own, *bundle* in place of what the React
        page was built to; *port* is another way to the server.
        """
        page = await (await self._browser.new_context()).new_page()
        page.set_default_timeout(BOUND)
        page.on("pageerror", lambda error: self.problems.append(f"{user}: {error}"))
        await page.add_init_script(script)
        if bundle is not None:
            # The page itself must be the server's: Chromium lets no other open a local websocket.
            await page.route("**/static/react/assets/*.js", partial(serve, bundle))
        await page.goto(f"http://127.0.0.1:{port or self._port}{path}")
        await page.click(f"[data-demo={user}]")
        await connected(page)
        await expect(page.locator("#messages li").first).to_be_visible()
        return page


@asynccontextmanager
async def windows_on(browser: Browser, port: int) -> AsyncIterator[Windows]:
    """Have windows, and see at the end that nothing went wrong in them."""
    windows = Windows(browser, port)
    yield windows
    for context in browser.contexts:
        await context.close()
    assert windows.problems == []


@pytest_asyncio.fixture(loop_scope="module")
async def windows(browser: Browser, proxy: Proxy) -> AsyncIterator[Windows]:
    async with windows_on(browser, proxy.port) as windows:
        yield windows


async def connected(page: Page) -> None:
    """Wait until the page says that it is connected."""
    await expect(page.locator("#connection")).to_have_attribute("data-state", "connected")


async def write(page: Page, text: str) -> None:
    """Send a message as a user does."""
    await page.fill("#content", text)
    await page.press("#content", "Enter")


async def said(page: Page, start: str) -> list[str]:
    """Return the messages shown that begin with *start*, in their order."""
    texts = await page.locator("#messages .content").all_text_contents()
    return [text for text in texts if text.startswith(start)]


async def start(page: Page, title: str, *names: str) -> None:
    """Start a conversation with those of such *names*, and wait until it is open."""
    await page.click("#new-conversation")
    await page.fill("#new-form [name=title]", title)
    for name in names:
        await page.click(f"#people label:has-text('{name}')")
    await page.click("#new-form [value=create]")
    await expect(page.locator("#thread-title")).to_have_text(title)


async def go_to(page: Page, title: str) -> None:
    """Open a conversation of the list's."""
    await page.click(f"#conversations button:has-text('{title}')")
    await expect(page.locator("#thread-title")).to_have_text(title)
