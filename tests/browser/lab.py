"""What the tests of the client have in hand: in a page, and beside it."""

from __future__ import annotations

from pathlib import Path

from example_app.demo_data import CONVERSATION_ID
from example_app.rest import log_in, post

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
