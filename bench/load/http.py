"""The same request again and again on one kept HTTP/1.1 connection."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast


class KeepAlive(asyncio.Protocol):
    """One connection, opened anew when the server ends it, as Hypercorn does after 1 000 requests.

    *answered* gets each body, with its status.
    """

    def __init__(self, port: int) -> None:
        self.answered: Callable[[int, bytes], None] = lambda status, body: None
        self._port = port
        self._data = b""
        self._request = b""
        self._ended = False
        self._opening: asyncio.Task[None] | None = None
        self._transport: asyncio.WriteTransport

    async def open(self) -> None:
        """Connect, and send what is still to be answered."""
        loop = asyncio.get_running_loop()
        await loop.create_connection(lambda: self, "127.0.0.1", self._port)
        if self._request:
            self._transport.write(self._request)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep what requests go out by."""
        self._transport = cast("asyncio.WriteTransport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Connect again, unless it was our wish."""
        if not self._ended:
            self._data = b""
            self._opening = asyncio.get_running_loop().create_task(self.open())

    def data_received(self, data: bytes) -> None:
        """Take a response apart once it is whole."""
        self._data += data
        head, found, body = self._data.partition(b"\r\n\r\n")
        if not found:
            return
        lines = head.split(b"\r\n")
        headers = dict(line.lower().split(b": ", 1) for line in lines[1:])
        if len(body) >= int(headers[b"content-length"]):
            self._data = self._request = b""
            self.answered(int(lines[0].split()[1]), body)

    def send(self, request: bytes) -> None:
        """Send a request."""
        self._request = request
        self._transport.write(request)

    def close(self) -> None:
        """End it."""
        self._ended = True
        self._transport.close()


def post(path: str, body: bytes, token: str) -> bytes:
    """Return a POST of JSON with a bearer's token."""
    head = (
        f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {token}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body
