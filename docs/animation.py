"""Makes the README's animation of the example: ``python -m docs.animation``.

It needs what the pictures need, see ``docs/screenshots.py``, and Pillow.
"""

from __future__ import annotations

import asyncio
import base64
import io
import json
import os
from tempfile import TemporaryDirectory
from typing import Any
from urllib.request import Request, urlopen

from PIL import Image
from playwright.async_api import Page, async_playwright

from docs.screenshots import HERE, Studio
from tests.browser.conftest import go_to, start
from tests.browser.engines import CHROMIUM_OPTIONS, chromium_path
from tests.e2e.server import Server
from tests.proxy import Proxy, proxying

WINDOW: Any = {"width": 520, "height": 430}
LETTERS = 4
"""How many are typed between two frames."""
TYPING, READING = 190, 1800
"""For how many milliseconds a frame is seen, while somebody types and while there is to read."""
COLOURS = 96
STYLE = """
body { margin: 0; font: 600 17px system-ui, sans-serif; color: #20213a }
main { display: grid; grid-template-columns: auto auto; gap: 14px; padding: 14px }
main { width: max-content; background: #cfd3e2 }
img { border-radius: 10px }
p { grid-column: 1 / 3; margin: 0 4px; height: 24px }
code { font: 600 15px ui-monospace, monospace }
code { background: #fff; padding: 2px 6px; border-radius: 5px }
"""


class Film:
    """Takes pictures of two windows and a line of text below, one after the other."""

    def __init__(self, table: Page, windows: tuple[Page, Page]) -> None:
        self._table = table
        self._windows = windows
        self._frames: list[Image.Image] = []
        self._times: list[int] = []
        self.caption = ""

    async def take(self, milliseconds: int) -> None:
        """Take a picture that is seen for so long."""
        shots = [base64.b64encode(await page.screenshot()).decode() for page in self._windows]
        images = "".join(f'<img src="data:image/png;base64,{shot}">' for shot in shots)
        await self._table.set_content(
            f"<style>{STYLE}</style><main>{images}<p>{self.caption}</p></main>"
        )
        shot = await self._table.locator("main").screenshot()
        self._frames.append(Image.open(io.BytesIO(shot)).convert("RGB"))
        self._times.append(milliseconds)

    async def type(self, page: Page, text: str) -> None:
        """Have somebody write *text*, letter by letter, and send it."""
        for at in range(0, len(text), LETTERS):
            await page.locator("#content").press_sequentially(text[at : at + LETTERS])
            await self.take(TYPING)
        await page.press("#content", "Enter")

    def save(self, name: str) -> None:
        """Keep it as a file."""
        palette = self._frames[-1].quantize(COLOURS)
        frames = [
            frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in self._frames
        ]
        first, *others = frames
        first.save(
            HERE / name, save_all=True, append_images=others, duration=self._times, loop=0,
            optimize=True,
        )  # fmt: skip


async def heard(page: Page, text: str) -> None:
    """Wait until a message is shown."""
    await page.wait_for_selector(f".message:not(.pending) .content:text-is('{text}')")


def write_by_rest(url: str, text: str) -> None:
    """Send a message as an old client does, which knows nothing of websockets."""
    headers = {"Content-Type": "application/json"}

    def ask(path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = Request(f"{url}{path}", data, headers)  # noqa: S310 - our own server
        with urlopen(request, timeout=15) as answered:  # noqa: S310
            return json.load(answered)

    tokens = ask("/auth/login", {"username": "luis", "password": "luis"})
    headers["Authorization"] = f"Bearer {tokens['access_token']}"
    found = {one["title"]: one["id"] for one in ask("/conversations")["conversations"]}
    ask(f"/conversations/{found['Trip to Cádiz']}/messages", {"message": {"content": text}})


async def story(film: Film, ana: Page, luis: Page, proxy: Proxy, url: str) -> None:
    """Chat, by websocket, by REST, and through a tunnel."""
    film.caption = "Two windows, one Quart app: what one writes is there in the other."
    await film.take(READING)
    await film.type(ana, "Shall we take the 9:40 train?")
    await heard(luis, "Shall we take the 9:40 train?")
    await film.take(READING)
    await film.type(luis, "Yes, by the window please")
    await heard(ana, "Yes, by the window please")
    await film.take(READING)
    film.caption = (
        "REST stays as it is: <code>POST /conversations/…/messages</code> is told live, too."
    )
    await film.take(READING)
    await asyncio.to_thread(write_by_rest, url, "This one came by curl")
    await heard(ana, "This one came by curl")
    await heard(luis, "This one came by curl")
    await film.take(2 * READING)
    film.caption = "Luis is in a tunnel. What he writes waits, and what he misses is numbered."
    proxy.go_away()
    await luis.wait_for_selector("#connection[data-state=waiting]")
    await film.take(READING)
    await film.type(ana, "I have three seats")
    await heard(ana, "I have three seats")
    await film.take(READING)
    await film.type(luis, "In the tunnel")
    await luis.wait_for_selector("#messages .pending")
    await film.take(2 * READING)
    film.caption = "Out of it: the page comes back by itself, each message once and in order."
    proxy.come_back()
    await heard(luis, "I have three seats")
    await heard(luis, "In the tunnel")
    await heard(ana, "In the tunnel")
    await film.take(3 * READING)


async def main() -> None:
    """Make the animation."""
    with TemporaryDirectory() as directory:
        os.environ["DATABASE_URL"] = f"sqlite:///{directory}/chat.sqlite"
        server = Server("example_app:create_app()")
        try:
            async with async_playwright() as playwright, proxying(server.port) as proxy:
                browser = await playwright.chromium.launch(
                    executable_path=chromium_path(), args=CHROMIUM_OPTIONS
                )
                studio = Studio(browser, server.port, scale=1)
                ana = await studio.window("ana", "light", size=WINDOW)
                luis = await studio.window("luis", "dark", size=WINDOW, port=proxy.port)
                await start(ana, "Trip to Cádiz", "Luis")
                await go_to(luis, "Trip to Cádiz")
                await luis.mouse.move(1, 1)
                film = Film(await browser.new_page(), (ana, luis))
                await story(film, ana, luis, proxy, server.url)
                film.save("live.gif")
                await browser.close()
        finally:
            server.stop()


if __name__ == "__main__":
    asyncio.run(main())
