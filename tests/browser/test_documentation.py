"""The page that shows the example's description, with AsyncAPI's component from npm."""

from __future__ import annotations

import re
import subprocess
import tarfile
from functools import partial
from pathlib import Path

import pytest
from playwright.async_api import Browser, Route, expect

from quart_realtime.settings import DOCS_CSS_URL, DOCS_JS_URL

from ..e2e.server import Server
from .conftest import BOUND

pytestmark = pytest.mark.asyncio(loop_scope="module")
PACKAGE = re.search(r"/npm/([^/]+/[^/]+)", DOCS_JS_URL)
SIZES = {"desk": (1280, 900), "phone": (390, 800)}


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


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
async def test_the_page_shows_what_is_asked_and_told(
    server: Server, browser: Browser, component: Path, scheme: str, size: str
) -> None:
    width, height = SIZES[size]
    context = await browser.new_context(
        viewport={"width": width, "height": height},
        color_scheme=scheme,  # type: ignore[arg-type]
    )
    page = await context.new_page()
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    for url in (DOCS_JS_URL, DOCS_CSS_URL):
        await page.route(url, partial(from_package, component))
    await page.goto(f"{server.url}/ws/docs")
    await expect(page.locator("#notice")).to_be_hidden(timeout=4 * BOUND)
    shown = page.locator("#asyncapi")
    await expect(shown).to_contain_text("messages.create")
    await expect(shown).to_contain_text(
        "Write into a conversation; its members may, as themselves."
    )
    await expect(shown).to_contain_text("event.new_message")
    await expect(shown).to_contain_text("conversation:{conversation_id}")
    assert await page.evaluate("document.documentElement.scrollWidth") <= width
    assert problems == []
    await context.close()


async def test_a_component_that_cannot_be_loaded_is_told_of(
    server: Server, browser: Browser
) -> None:
    page = await browser.new_page()
    await page.route(DOCS_JS_URL, lambda route: route.abort())
    await page.route(DOCS_CSS_URL, lambda route: route.abort())
    await page.goto(f"{server.url}/ws/docs")
    await expect(page.locator("#notice")).to_contain_text("QUART_REALTIME_DOCS_JS_URL")
    await page.close()
