"""What the documentation shows for browsers, run in one on the app that the same page builds."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from playwright.async_api import Browser, Page, expect

from ..documents import PAGES, ROOT, to_run
from ..e2e.server import Server, serving
from .conftest import BOUND, Windows, windows_on

pytestmark = pytest.mark.asyncio(loop_scope="module")

IN_ANOTHER_TEST = {"README.md": "test_chat.py"}
JAVASCRIPT_PAGES = [
    page for page in PAGES if page not in IN_ANOTHER_TEST and to_run(page, "javascript")
]
IMPORT = re.compile(r"^import \{(.+?)\} from (\".+?\");$", re.MULTILINE)
TAKEN_FOR_GRANTED = """
const getToken = async () => {
  const response = await fetch("/auth/refresh", { method: "POST" });
  return (await response.json()).access_token;
};
const token = await getToken();
const message = { conversation_id: "conv123", content: "Hola", sender_id: "user123" };
const add = show, leave = show, reload = show;
"""
"""What the examples use and another part of a page would have."""


def script(page: str) -> str:
    """Return one module of all of a page's examples, each in the scope of those before it."""
    codes = [one.code for one in to_run(page, "javascript")]
    imported: dict[str, set[str]] = {}
    for code in codes:
        for names, module in IMPORT.findall(code):
            imported.setdefault(module, set()).update(names.replace(" ", "").split(","))
    imports = "".join(
        f"import {{ {', '.join(sorted(names))} }} from {module};\n"
        for module, names in imported.items()
        if module.startswith('"/')
    )
    nested = "".join(f"{{\n{IMPORT.sub('', code)}\n" for code in codes)
    return f"{imports}{TAKEN_FOR_GRANTED}{nested}shown.push('the end');{'}' * len(codes)}"


@asynccontextmanager
async def opened(browser: Browser, server: Server, path: str) -> AsyncIterator[Page]:
    page = await (await browser.new_context()).new_page()
    page.set_default_timeout(BOUND)
    await page.goto(f"{server.url}{path}")
    yield page
    await page.context.close()


@pytest.mark.parametrize("page", JAVASCRIPT_PAGES)
async def test_a_pages_examples_run_to_their_end(
    browser: Browser, page: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCUMENTS_PAGE", page)
    with serving("tests.documents_app:create_app()") as server:
        async with opened(browser, server, "/lab") as tab:
            await tab.add_script_tag(type="module", content=script(page))
            await tab.wait_for_function("shown.includes('the end') || problems.length > 0")
            assert await tab.evaluate("problems") == []


async def test_the_tutorials_page_shows_in_one_window_what_is_added_in_another(
    browser: Browser,
) -> None:
    live = ROOT / "tests" / "existing_app" / "after"
    with serving("todos:app", directory=live) as server:
        async with windows_on(browser, server.port) as windows:
            one, two = await todos_in(windows, browser), await todos_in(windows, browser)
            await one.fill("[name=task]", "<b>buy milk</b>")
            await one.click("button")
            for page in (one, two):
                await expect(page.locator("li")).to_have_text("<b>buy milk</b>")
            await expect(one.locator("[name=task]")).to_have_value("")


async def todos_in(windows: Windows, browser: Browser) -> Page:
    """Open the tutorial's page, and wait until it is connected."""
    page = await (await browser.new_context()).new_page()
    page.set_default_timeout(BOUND)
    page.on("pageerror", lambda error: windows.problems.append(str(error)))
    async with page.expect_websocket() as opening:
        await page.goto(windows.url("/static/todos.html"))
    socket = await opening.value
    await socket.wait_for_event("framereceived")
    return page
