"""Pages in three browsers, as far as the tests of the client need them."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, NoReturn, Protocol, TypeAlias

import pytest
from playwright.async_api import Browser, Page, async_playwright
from selenium.webdriver.chrome.options import Options as ChromiumOptions
from selenium.webdriver.chrome.service import Service as ChromiumService
from selenium.webdriver.common.options import ArgOptions
from selenium.webdriver.common.service import Service
from selenium.webdriver.remote.client_config import ClientConfig
from selenium.webdriver.remote.remote_connection import RemoteConnection
from selenium.webdriver.remote.webdriver import WebDriver
from selenium.webdriver.webkitgtk.options import Options as WebKitOptions
from selenium.webdriver.webkitgtk.service import Service as WebKitService

CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
UNTHROTTLED = [
    "disable-background-timer-throttling",
    "disable-backgrounding-occluded-windows",
    "disable-renderer-backgrounding",
]
CHROMIUM_OPTIONS = ["--no-sandbox", "--disable-background-networking"]


class Tab(Protocol):
    """A page."""

    most_sockets: int
    """How many it opens to one server, as far as we need to know."""

    async def open(self, url: str) -> None:
        """Go there."""

    async def run(self, function: str, *values: Any) -> Any:
        """Call *function*, written in JavaScript, in the page, and return what it resolves to."""

    async def leave(self) -> None:
        """End the page, and all that goes on in it."""


class PlaywrightTab:
    """A page of Chromium or Firefox."""

    most_sockets = 200

    def __init__(self, page: Page) -> None:
        self.page = page

    async def open(self, url: str) -> None:
        await self.page.goto(url)

    async def run(self, function: str, *values: Any) -> Any:
        return await self.page.evaluate(f"(values) => ({function})(...values)", list(values))

    async def leave(self) -> None:
        await self.page.close()


class SeleniumTab:
    """A page of WebKit, or of a Chromium that may be hidden."""

    most_sockets = 190  # Of two hundred connections, some of which HTTP keeps.
    SECONDS = 120
    """How long a function may take; its own waits end before."""

    def __init__(self, driver: WebDriver) -> None:
        self.driver = driver
        driver.set_script_timeout(self.SECONDS)

    async def open(self, url: str) -> None:
        await asyncio.to_thread(self.driver.get, url)

    async def run(self, function: str, *values: Any) -> Any:
        script = f"""
            const done = [...arguments].at(-1);
            const call = async () => ({function})(...[...arguments].slice(0, -1));
            const fail = (error) => done({{ error: `${{error}}` }});
            call().then((value) => done({{ value }}), fail);
        """
        # It makes its caller wait.
        outcome = await asyncio.to_thread(self.driver.execute_async_script, script, *values)
        if "error" in outcome:
            raise AssertionError(outcome["error"])
        return outcome.get("value")

    async def leave(self) -> None:
        await self.open("about:blank")


@contextmanager
def driven(service: Service, options: ArgOptions) -> Iterator[SeleniumTab]:
    """Have a browser by its driver."""
    service.start()
    try:
        client_config = ClientConfig(remote_server_addr=service.service_url)
        connection = RemoteConnection(client_config=client_config)
        driver = WebDriver(command_executor=connection, options=options)
        try:
            yield SeleniumTab(driver)
        finally:
            driver.quit()
    finally:
        service.stop()


def found(*names: str, package: str, missing: Callable[[str], NoReturn] = pytest.skip) -> str:
    """Return the first program of *names* that there is.

    Without any the test is skipped: Firefox and WebKit are used where they can be had. What can't
    be done without is *missing* by ``pytest.fail``.
    """
    for name in names:
        if (path := shutil.which(name)) is not None:
            return path
    missing(f"there is no {names[0]}: apt-get install {package}, or your system's like")


def chromium_path() -> str:
    """Return where the system's Chromium is; the test fails where there is none."""
    return found(*CHROMIUM, package="chromium", missing=pytest.fail)


OpenTab: TypeAlias = Callable[[], Awaitable[Tab]]


@asynccontextmanager
async def chromium() -> AsyncIterator[OpenTab]:
    """Have the system's Chromium, and open pages of it."""
    async with async_playwright() as playwright:
        path = chromium_path()
        browser = await playwright.chromium.launch(executable_path=path, args=CHROMIUM_OPTIONS)
        yield lambda: _page(browser)


@asynccontextmanager
async def hideable_chromium() -> AsyncIterator[SeleniumTab]:
    """Have a page of Chromium that can be hidden, and left for the back/forward cache.

    Playwright shows every page as if it had the focus. Once hidden for five seconds instead of
    five minutes, timers fire once a minute.
    """
    options = ChromiumOptions()
    options.binary_location = chromium_path()
    throttled = "--enable-features=IntensiveWakeUpThrottling:grace_period_seconds/5"
    for argument in (*CHROMIUM_OPTIONS, "--headless=new", throttled):
        options.add_argument(argument)
    options.add_experimental_option("excludeSwitches", UNTHROTTLED)
    path = found("chromedriver", package="chromium-driver", missing=pytest.fail)
    with driven(ChromiumService(path), options) as tab:
        yield tab


@asynccontextmanager
async def firefox() -> AsyncIterator[OpenTab]:
    """Have the system's Firefox, and open pages of it, by WebDriver BiDi."""
    path = found("firefox", "firefox-esr", package="firefox-esr")
    async with async_playwright() as playwright:
        browser = await playwright.firefox.launch(channel="moz-firefox", executable_path=path)
        yield lambda: _page(browser)


async def _page(browser: Browser) -> Tab:
    return PlaywrightTab(await browser.new_page())


@asynccontextmanager
async def webkit() -> AsyncIterator[OpenTab]:
    """Have WebKitGTK, which needs a display; its one page is opened again and again."""
    path = found("WebKitWebDriver", package="webkit2gtk-driver")
    options = WebKitOptions()
    options.binary_location = _mini_browser()
    options.add_argument("--automation")
    with _display() as display:
        service = WebKitService(path, env={**os.environ, "DISPLAY": display})
        with driven(service, options) as tab:

            async def same() -> Tab:
                return tab

            yield same


def _mini_browser() -> str:
    """Return where WebKitGTK's browser is; no path has it."""
    found = sorted(Path("/usr").glob("lib*/**/webkit2gtk-4.*/MiniBrowser"))
    if not found:
        pytest.skip("there is no MiniBrowser: apt-get install webkit2gtk-driver")
    return str(found[-1])


@contextmanager
def _display() -> Iterator[str]:
    """Have a display that nobody sees."""
    xvfb = found("Xvfb", package="xvfb")
    read, write = os.pipe()
    server = subprocess.Popen(
        [xvfb, "-displayfd", str(write), "-nolisten", "tcp"],
        pass_fds=[write],
        stderr=subprocess.DEVNULL,
    )
    os.close(write)
    try:
        with os.fdopen(read) as told:
            yield f":{told.readline().strip()}"
    finally:
        server.terminate()
        server.wait(10)


ENGINES = {"chromium": chromium, "firefox": firefox, "webkit": webkit}
