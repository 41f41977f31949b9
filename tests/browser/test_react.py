"""The chat in React, built with Vite: as it is deployed, and as it is while being developed."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from playwright.async_api import expect

from .conftest import Windows, connected, said, write

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
    (script,) = out.glob("assets/*.js")
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


COUNT_DOUBLES = """() => {
  window.doubles = 0;
  new MutationObserver(() => {
    const items = [...document.querySelectorAll("#messages .content")];
    const shown = items.map((item) => item.textContent);
    window.doubles += shown.length - new Set(shown).size;
  }).observe(document.getElementById("messages"), { childList: true, subtree: true });
}"""


async def test_what_is_sent_is_not_shown_twice_between_its_event_and_its_answer(
    windows: Windows,
) -> None:
    ana = await windows.open("ana", "/react")
    await ana.evaluate(COUNT_DOUBLES)
    for number in range(10):
        await write(ana, f"once {number}")
        await expect(ana.locator("#messages .pending")).to_have_count(0)
    assert await said(ana, "once") == [f"once {number}" for number in range(10)]
    assert await ana.evaluate("doubles") == 0


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
