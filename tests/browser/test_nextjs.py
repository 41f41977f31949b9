"""The chat in Next.js, built with the npm package as it would be published."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from tempfile import NamedTemporaryFile, TemporaryDirectory
from typing import Any

import pytest
import pytest_asyncio
from attrs import frozen
from playwright.async_api import Browser, Page, expect

from ..e2e.server import Server
from ..proxy import Proxy
from .conftest import Windows, connected, said, windows_on, write

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.timeout(600),  # The first test waits for the build.
]

ROOT = Path(__file__).parents[2]


@frozen
class Site:
    """Where Next serves the app, where it takes Quart to be, and the file of its complaints."""

    port: int
    quart: socket.socket
    complaints: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@pytest.fixture(scope="session")
def site() -> Iterator[Site]:
    """Build the app, once, and serve it."""
    with (
        TemporaryDirectory() as app,
        NamedTemporaryFile() as complaints,
        socket.create_server(("127.0.0.1", 0)) as quart,
    ):
        # The build notes it down, so that it is the same for all tests.
        settings = {"QUART_URL": f"http://127.0.0.1:{quart.getsockname()[1]}"}
        environment = {**os.environ, **settings, "NEXT_TELEMETRY_DISABLED": "1"}
        build = ["node", "tests/js/build_nextjs.js", app]
        subprocess.run(build, cwd=ROOT, env=environment, check=True, timeout=500)
        process = subprocess.Popen(
            ["node_modules/.bin/next", "start", "--hostname", "127.0.0.1", "--port", "0"],
            cwd=app,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=complaints,
            text=True,
            start_new_session=True,
        )
        try:
            yield Site(port_of(process), quart, Path(complaints.name))
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()


def port_of(process: subprocess.Popen[str]) -> int:
    """Wait until Next serves, and return where."""
    assert process.stdout is not None
    said = ""
    for line in process.stdout:
        said += line
        if "Ready" in line:
            break
    local = re.search(r"Local: +http://127\.0\.0\.1:(\d+)", said)
    assert local, f"next start said:\n{said}"
    return int(local[1])


@pytest.fixture(autouse=True)
def origin(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let Next's pages open a websocket: a rewrite leaves their origin as it is."""
    monkeypatch.setenv("QUART_REALTIME_ALLOWED_ORIGINS", f'["{site.url}"]')


@pytest_asyncio.fixture(loop_scope="module")
async def proxy(site: Site, server: Server) -> AsyncIterator[Proxy]:
    """Return the way from Next to Quart."""
    proxy = Proxy(server.port)
    listening = await asyncio.start_server(proxy.serve, sock=site.quart.dup())
    try:
        yield proxy
    finally:
        listening.close()
        await proxy.end()


@pytest_asyncio.fixture(loop_scope="module")
async def windows(site: Site, browser: Browser, proxy: Proxy) -> AsyncIterator[Windows]:
    async with windows_on(browser, site.port) as windows:
        yield windows


async def complaints(page: Page) -> list[str]:
    """Return the warnings and errors on the page's console."""
    messages = await page.console_messages()
    return [message.text for message in messages if message.type in ("warning", "error")]


async def call(page: Page, server: Server, method: str, path: str, body: Any = None) -> Any:
    """Call Quart's REST API as the user of *page*, past Next."""
    fetched = await page.evaluate("fetch('/token', { method: 'POST' }).then((r) => r.json())")
    answer = await page.request.fetch(
        f"{server.url}{path}",
        method=method,
        data=body,
        headers={"Authorization": f"Bearer {fetched['access_token']}"},
    )
    assert answer.ok, await answer.text()
    return await answer.json()


async def test_two_windows_chat_through_next(windows: Windows, site: Site, server: Server) -> None:
    ana, luis = await windows.open("ana"), await windows.open("luis")
    await ana.reload()  # What the server has rendered of the chat is taken over by the page.
    await connected(ana)
    await write(ana, "Hola desde Next")
    await expect(luis.locator("#messages .content", has_text="Hola desde Next")).to_be_visible()
    await expect(ana.locator("#presence .here")).to_have_count(2)
    new = {"conversation": {"title": "Plans", "members": ["luis"]}}
    plans = (await call(ana, server, "POST", "/conversations", new))["conversation"]
    entry = luis.locator("#conversations button", has_text="Plans")
    await expect(entry).to_be_visible()
    message = {"message": {"content": "Psst"}}
    for unread in ("1", "2"):
        await call(ana, server, "POST", f"/conversations/{plans['id']}/messages", message)
        await expect(entry.locator(".unread")).to_have_text(unread)
    await entry.click()
    await expect(luis.locator("#messages .content")).to_have_text(["Psst", "Psst"])
    await expect(entry.locator(".unread")).to_have_count(0)
    await luis.click("#logout")
    await expect(luis.locator("[data-demo=luis]")).to_be_visible()
    await expect(ana.locator("#presence .here")).to_have_text(["Ana"])
    assert await complaints(ana) + await complaints(luis) == []
    assert site.complaints.read_text() == ""


async def test_the_first_html_has_the_page_and_needs_no_script(
    browser: Browser, site: Site, proxy: Proxy
) -> None:
    page = await (await browser.new_context(java_script_enabled=False)).new_page()
    await page.goto(site.url)
    await page.click("[data-demo=ana]")
    await expect(page.locator("#conversations .title")).to_have_text(["Welcome"])
    await expect(page.locator(".thread h2")).to_have_text("Welcome")
    await expect(page.locator("#connection")).to_have_text("Connecting…")


async def test_next_comes_back_after_the_network_was_away(windows: Windows, proxy: Proxy) -> None:
    ana = await windows.open("ana")
    proxy.go_away()
    await expect(ana.locator("#connection")).to_have_attribute("data-state", "waiting")
    await write(ana, "late")
    await expect(ana.get_by_text("Sending…")).to_be_visible()
    proxy.come_back()
    await connected(ana)
    await expect(ana.locator("#messages .content", has_text="late")).to_be_visible()
    assert await said(ana, "late") == ["late"]


async def test_a_page_that_quart_does_not_answer_for_comes_by_itself(
    site: Site, browser: Browser, proxy: Proxy
) -> None:
    page = await browser.new_page()
    await page.goto(site.url)
    await page.click("[data-demo=ana]")
    await connected(page)
    proxy.go_away()
    await page.reload()
    await expect(page.get_by_text("Trying again")).to_be_visible()
    proxy.come_back()
    await connected(page)
    await page.context.close()


async def test_who_logs_out_leaves_no_session_behind(
    site: Site, windows: Windows, server: Server
) -> None:
    luis = await windows.open("luis")
    (session,) = [c for c in await luis.context.cookies() if c.get("name") == "chat_session"]
    headers = {"Authorization": f"Bearer {session.get('value')}"}
    refresh = f"{server.url}/auth/refresh"
    assert (await luis.request.post(refresh, headers=headers)).status == 200
    await luis.click("#logout")
    await expect(luis.locator("[data-demo=luis]")).to_be_visible()
    assert (await luis.request.post(refresh, headers=headers)).status == 401


async def test_a_session_that_is_over_ends_at_the_login_which_refuses_a_deleted_account(
    site: Site, windows: Windows, server: Server
) -> None:
    luis = await windows.open("luis")
    await call(luis, server, "DELETE", "/users/luis")
    await expect(luis.locator("[data-demo=luis]")).to_be_visible()
    async with luis.expect_response(lambda answer: answer.request.method == "POST") as answered:
        await luis.click("[data-demo=luis]")
    assert (await answered.value).status < 400
    await expect(luis.locator("[data-demo=luis]")).to_be_visible()
