"""What the tests of the client have in hand: in a page, and beside it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from example_app.demo_data import CONVERSATION_ID
from example_app.rest import log_in, post
from quart_realtime.client import Client, connect

LAB = Path(__file__).with_suffix(".js").read_text(encoding="utf-8")
"""To be run in a page; see there."""


class Author:
    """Writes into the example's conversation over REST, by a way of their own to the server."""

    def __init__(self, url: str, name: str) -> None:
        self._url = url
        self._name = name
        self._token: str | None = None

    async def post(self, path: str, body: dict[str, object]) -> dict[str, dict[str, str]]:
        """Post *body*, and return what is answered."""
        if self._token is None:
            self._token = await log_in(self._url, self._name, self._name)
        answer: dict[str, dict[str, str]] = await post(self._url + path, body, self._token)
        return answer

    async def write(self, content: str) -> None:
        """Send a message."""
        path = f"/conversations/{CONVERSATION_ID}/messages"
        await self.post(path, {"message": {"content": content}})

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[Client]:
        token = await log_in(self._url, self._name, self._name)
        async with connect(f"ws{self._url.removeprefix('http')}/ws", token) as client:
            yield client

    async def type(self) -> None:
        """Show that they are writing, as something that no room keeps."""
        async with self._connected() as client:
            await client.request("conversations", "typing", conversation_id=CONVERSATION_ID)

    async def until_said(self, content: str) -> None:
        """Wait until the server has a message, whoever was told of it."""
        newest = {"conversation_id": CONVERSATION_ID, "order": "desc", "limit": 10}
        async with self._connected() as client, asyncio.timeout(10):
            while True:
                page = await client.request("messages", "get_all", newest)
                if content in [message["content"] for message in page["messages"]]:
                    return
                await asyncio.sleep(0.05)  # There is nothing to be awaited but the next look.
