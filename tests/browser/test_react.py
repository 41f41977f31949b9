"""The chat in React, built with Vite: as it is deployed, and as it is while being developed."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from playwright.async_api import expect

from .conftest import Windows, connected

pytestmark = pytest.mark.asyncio(loop_scope="module")

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
    (script,) = out.glob("assets/index-*.js")
    return script


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
    await expect(here).to_contain_text("Ana")
    # What the server counts, and what the browser opened.
    await expect(here).to_have_attribute("data-connections", "1")
    assert len(sockets) == 1
    assert problems == []


async def test_what_is_being_written_waits_while_another_conversation_is_open(
    windows: Windows,
) -> None:
    ana = await windows.open("ana", "/react")
    await ana.fill("#content", "a thought for all")
    await ana.click("#new-conversation")
    await ana.fill("#new-form [name=title]", "Notes")
    await ana.press("#new-form [name=title]", "Enter")
    await expect(ana.locator("#thread-title")).to_have_text("Notes")
    await expect(ana.locator("#content")).to_have_value("")
    await ana.click("#conversations button:has-text('Welcome')")
    await expect(ana.locator("#content")).to_have_value("a thought for all")
    await expect(ana.locator("#content")).to_be_focused()
