"""The chat in React, built with Vite: as it is deployed, and as it is while being developed."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from playwright.async_api import expect

from .conftest import Windows, connected, said, write
from .proxy import Proxy

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def development(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the script with React's checks, among them StrictMode's mounting everything twice."""
    out = tmp_path_factory.mktemp("react")
    subprocess.run(
        ["npx", "--no-install", "vite", "build", "example_app/frontend", "--outDir", str(out)],
        cwd=ROOT,
        env={**os.environ, "NODE_ENV": "development"},
        check=True,
        timeout=60,
    )
    (script,) = out.glob("assets/*.js")
    return script


async def test_two_windows_chat_in_react(windows: Windows) -> None:
    ana, luis = await windows.open("ana", "/react"), await windows.open("luis", "/react")
    await write(ana, "Hola desde React")
    await expect(luis.locator("#messages .content", has_text="Hola desde React")).to_be_visible()
    await expect(ana.locator("#presence .here")).to_have_count(2)
    await luis.click("#logout")
    await expect(ana.locator("#presence .here")).to_have_count(1)


async def test_react_comes_back_after_the_network_was_away(windows: Windows, proxy: Proxy) -> None:
    ana = await windows.open("ana", "/react")
    proxy.go_away()
    await expect(ana.locator("#connection")).to_have_attribute("data-state", "waiting")
    await write(ana, "late")
    proxy.come_back()
    await connected(ana)
    await expect(ana.locator("#messages .content", has_text="late")).to_be_visible()
    assert await said(ana, "late") == ["late"]


async def test_what_strict_mode_mounts_twice_is_one_socket(
    windows: Windows, development: Path
) -> None:
    ana = await windows.open("ana", "/react", bundle=development)
    problems: list[str] = []
    ana.on("console", lambda said: problems.append(said.text) if said.type == "error" else None)
    sockets: list[str] = []
    ana.on("websocket", lambda socket: sockets.append(socket.url))
    await ana.reload()
    await connected(ana)
    here = ana.locator("#presence .here")
    await expect(here).to_have_text("Ana")
    # What the server counts, and what the browser opened.
    await expect(here).to_have_attribute("data-connections", "1")
    assert len(sockets) == 1
    assert problems == []
