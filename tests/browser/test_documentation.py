"""The page that shows the example's description, with AsyncAPI's component from npm."""

from __future__ import annotations

import base64
import re
import subprocess
import tarfile
from functools import partial
from pathlib import Path

import pytest
from playwright.async_api import Browser, Page, Route, expect

from quart_realtime.settings import DOCS_CSS_URL, DOCS_JS_URL

from ..e2e.server import Server
from .conftest import BOUND

# The component is large, and takes its time to draw what it has read.
pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(480)]
PACKAGE = re.search(r"/npm/([^/]+/[^/]+)", DOCS_JS_URL)


@pytest.fixture(scope="module")
def component(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of the component, in the version that the page asks a CDN for."""
    folder = tmp_path_factory.mktemp("component")
    assert PACKAGE is not None
    subprocess.run(["npm", "pack", "--silent", PACKAGE[1]], cwd=folder, check=True, timeout=90)
    (archive,) = folder.glob("*.tgz")
    with tarfile.open(archive) as files:
        files.extractall(folder, filter="data")
    return folder / "package"


async def from_package(component: Path, route: Route) -> None:
    assert PACKAGE is not None
    path = route.request.url.partition(PACKAGE[1])[2].lstrip("/")
    # The page asks for them as a CDN's files, which it holds to their hashes.
    await route.fulfill(path=component / path, headers={"Access-Control-Allow-Origin": "*"})


async def test_the_page_shows_what_is_asked_and_told(
    server: Server, browser: Browser, component: Path
) -> None:
    page = await browser.new_page()
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    for url in (DOCS_JS_URL, DOCS_CSS_URL):
        await page.route(url, partial(from_package, component))
    await page.goto(f"{server.url}/ws/docs")
    await expect(page.locator("#notice")).to_be_hidden(timeout=4 * BOUND)
    shown = await page.locator("#asyncapi").inner_text(timeout=2 * BOUND)
    for text in (
        "messages.create",
        "Write into a conversation; its members may, as themselves.",
        "event.new_message",
        "conversation:{conversation_id}",
    ):
        assert text in shown
    for width, height in ((1280, 900), (390, 800)):
        await page.set_viewport_size({"width": width, "height": height})
        assert await page.evaluate("document.documentElement.scrollWidth") <= width
    assert await lightness(page) > 200
    await page.emulate_media(color_scheme="dark")
    assert await lightness(page) < 60
    assert problems == []
    await page.close()


async def lightness(page: Page) -> float:
    """Return how light the page's edge is, from 0 to 255."""
    picture = await page.screenshot(clip={"x": 0, "y": 0, "width": 1, "height": 1})
    measure = """async (data) => {
        const bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0));
        const image = await createImageBitmap(new Blob([bytes]));
        const canvas = new OffscreenCanvas(1, 1).getContext("2d");
        canvas.drawImage(image, 0, 0);
        return canvas.getImageData(0, 0, 1, 1).data[1];
    }"""
    return float(await page.evaluate(measure, base64.b64encode(picture).decode()))


async def test_a_component_that_cannot_be_loaded_is_told_of(
    server: Server, browser: Browser
) -> None:
    page = await browser.new_page()
    await page.route(DOCS_JS_URL, lambda route: route.abort())
    await page.route(DOCS_CSS_URL, lambda route: route.abort())
    await page.goto(f"{server.url}/ws/docs")
    await expect(page.locator("#notice")).to_contain_text("QUART_REALTIME_DOCS_JS_URL")
    await page.close()
